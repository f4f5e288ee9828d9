"""Trace context, log lines, metrics, stage instrumentation and the run journal."""
