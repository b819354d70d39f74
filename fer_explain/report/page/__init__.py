"""The page of a report: its sections, templates and style."""
