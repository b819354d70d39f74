"""The attribution methods, grouped by technique; `fer_explain.attribution.registry` describes them."""
