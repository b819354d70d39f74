"""A page that finds, scores and explains faces in the visitor's browser, and the command that writes it."""
