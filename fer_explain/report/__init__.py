"""The report: one self-contained page that explains the decisions of a model on a set of faces."""
