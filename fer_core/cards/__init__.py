"""Parts of a model card: the record of the training data, and the table that notebooks show."""
