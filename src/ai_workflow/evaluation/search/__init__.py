"""Report of a hyperparameter search."""
