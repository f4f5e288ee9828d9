"""Maintenance flows: promotion, reaction to SLO breaches, and retention with approval."""
