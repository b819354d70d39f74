"""Files of predictions, attribution maps and rejected rows, which appear complete or not at all."""
