"""Sources of rows, one file per kind: Arrow tables of bounded size with row numbers."""
