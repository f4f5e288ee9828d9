"""Logs of predictions and labels, and their compaction into the store."""
