"""How long tests wait for something that comes at once on an idle machine: only a hang takes longer on a busy one."""

PATIENCE = 450.0
"""Seconds; less than the limit of pytest for a whole test."""
