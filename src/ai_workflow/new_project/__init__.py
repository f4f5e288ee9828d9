"""A project of a team's own: its files, written once and updated later."""
