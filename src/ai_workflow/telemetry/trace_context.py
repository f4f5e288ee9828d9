"""The trace_id and the stage at hand: what every log line, event and answer carries."""

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
# Prefect's lines about a run, some of them written outside of it, know nothing but the run's id.
_of_runs: dict[str, str] = {}
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")


def new_id() -> str:
    """Return a new W3C trace id: 32 lower-case hex digits, not all zero."""
    return secrets.token_hex(16)


def trace_id_of_run(flow_run_id: str) -> str:
    """Return the trace id of a Prefect flow run: the one it was given, else one that its id always gives."""
    return _of_runs.get(flow_run_id) or hashlib.sha256(flow_run_id.encode()).hexdigest()[:32]


def set_trace_of_run(flow_run_id: str, trace_id: str) -> None:
    """Make `trace_id` that of a flow run, in this process."""
    _of_runs[flow_run_id] = trace_id


def from_traceparent(header: str) -> str:
    """Return the trace id of a W3C `traceparent` header (https://www.w3.org/TR/trace-context/).

    Raises:
        AiWorkflowError: the header is not of the form `00-<32 hex>-<16 hex>-<2 hex>`.
    """
    text = header.strip().lower()
    found = _TRACEPARENT.match(text)
    if not found or text.startswith("ff") or {"0"} in (set(found[1]), set(found[2])):
        raise AiWorkflowError(f"traceparent {header!r} is not of the form 00-<32 hex>-<16 hex>-<2 hex>")
    return found[1]


def current() -> str | None:
    """Return the trace id at hand, if any."""
    return _trace.get()


def current_stage() -> str | None:
    """Return the stage at hand, if any."""
    return _stage.get()


def short(trace_id: str) -> str:
    """Return a trace id as people see it: its first 8 digits."""
    return trace_id[:SHORT_LENGTH]


@contextlib.contextmanager
def bound(*, trace_id: str | None = None, stage: str | None = None) -> Iterator[None]:
    """Carry a trace id, a stage or both within the block; what was there before comes back after it."""
    tokens = [
        (variable, variable.set(value))
        for variable, value in ((_trace, trace_id), (_stage, stage))
        if value is not None
    ]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)
