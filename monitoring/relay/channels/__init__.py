"""One file for each way to a chat vendor."""
