"""Train classifiers of facial expressions and export them."""
