"""The command line `ai-workflow`."""
