"""Trace ID, stage and pipeline of the current context, for log lines, events and responses."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator
from contextvars import ContextVar

from ai_workflow.errors import AiWorkflowError

IN_CACHE_KEY = False
SHORT_LENGTH = 8
_trace: ContextVar[str | None] = ContextVar("aiw_trace", default=None)
_stage: ContextVar[str | None] = ContextVar("aiw_stage", default=None)
# Set only where one process works for several pipelines.
_pipeline: ContextVar[str | None] = ContextVar("aiw_pipeline", default=None)
# Flow run ID -> trace ID. Prefect logs some lines about a run outside its context, with the run ID only.
_trace_of_run: dict[str, str] = {}
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")


def new_id() -> str:
    """Return a new W3C trace ID: 32 lower-case hex digits, not all zero."""
    return secrets.token_hex(16)


def trace_id_of_run(flow_run_id: str) -> str:
    """Return the trace ID of a flow run: the one that was set, else one derived from the run ID."""
    return _trace_of_run.get(flow_run_id) or hashlib.sha256(flow_run_id.encode()).hexdigest()[:32]


def set_trace_of_run(flow_run_id: str, trace_id: str) -> None:
    """Set the trace ID of a flow run, in this process."""
    _trace_of_run[flow_run_id] = trace_id


def from_traceparent(header: str) -> str:
    """Return the trace ID of a W3C `traceparent` header (https://www.w3.org/TR/trace-context/).

    Raises:
        AiWorkflowError: the header does not have the form `00-<32 hex>-<16 hex>-<2 hex>`.
    """
    text = header.strip().lower()
    match = _TRACEPARENT.match(text)
    if not match or text.startswith("ff") or {"0"} in (set(match[1]), set(match[2])):
        raise AiWorkflowError(f"traceparent {header!r} is not of the form 00-<32 hex>-<16 hex>-<2 hex>")
    return match[1]


def current() -> str | None:
    """Return the trace ID of the context, None if there is none."""
    return _trace.get()


def current_stage() -> str | None:
    """Return the stage of the context, None if there is none."""
    return _stage.get()


def current_pipeline() -> str | None:
    """Return the pipeline of the context, None in a process of one pipeline."""
    return _pipeline.get()


def short(trace_id: str) -> str:
    """Return the first 8 digits of a trace ID, for display."""
    return trace_id[:SHORT_LENGTH]


@contextlib.contextmanager
def bound(*, trace_id: str | None = None, stage: str | None = None, pipeline: str | None = None) -> Iterator[None]:
    """Set trace ID, stage and pipeline within the context, as far as they are given."""
    tokens = [
        (variable, variable.set(value))
        for variable, value in ((_trace, trace_id), (_stage, stage), (_pipeline, pipeline))
        if value is not None
    ]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)
