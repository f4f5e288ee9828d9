"""Arrow kernels that coerce whole text columns, with the same results as `datasets.coercion`."""
