"""Measures of attribution maps: what they foretell, whether they hold still, where they lie, how surely one knows."""
