"""Evaluation of attribution maps: faithfulness, sanity checks, localization, and their confidence intervals."""
