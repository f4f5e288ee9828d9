"""Settings of the hyperparameter search, and the check of its parameters."""
