"""Feature spec, its transform and the single-row encoder: one meaning for each cell."""
