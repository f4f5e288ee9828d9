"""The process at work: cancellation, progress, memory pressure, timeouts, system limits."""
