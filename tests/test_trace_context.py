"""What the trace promises: one id per run, the same wherever the run is known, restored after a block."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading

import pytest

from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry import trace_context
from tests import processes

ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_new_trace_ids_are_unique_and_w3c_valid() -> None:
    made = {trace_context.new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(trace_context.from_traceparent(f"00-{one}-{PARENT}-01") == one for one in made)


@pytest.mark.parametrize(
    "header",
    [f"00-{ID}-{PARENT}-01", f"00-{ID}-{PARENT}-00", f" 00-{ID}-{PARENT}-01\n", f"00-{ID.upper()}-{PARENT}-01"],
)
def test_traceparent_gives_trace_id(header: str) -> None:
    assert trace_context.from_traceparent(header) == ID


@pytest.mark.parametrize(
    "header",
    [
        "",
        ID,
        f"00-{ID}-{PARENT}",
        f"00-{ID[1:]}-{PARENT}-01",
        f"00-{ID}g-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"ff-{ID}-{PARENT}-01",
        f" ff-{ID}-{PARENT}-01",
        f"00-{ID}-{PARENT}-01-more",
    ],
)
def test_malformed_traceparent_is_rejected(header: str) -> None:
    with pytest.raises(AiWorkflowError, match="is not of the form 00-"):
        trace_context.from_traceparent(header)


def test_nested_trace_contexts_restore_previous_values() -> None:
    with trace_context.bound(trace_id="a" * 32, stage="trainer"):
        with trace_context.bound(stage="evaluator"):
            assert (trace_context.current(), trace_context.current_stage()) == ("a" * 32, "evaluator")
        with contextlib.suppress(KeyError), trace_context.bound(trace_id="b" * 32):
            assert (trace_context.current(), trace_context.current_stage()) == ("b" * 32, "trainer")
            raise KeyError
        assert (trace_context.current(), trace_context.current_stage()) == ("a" * 32, "trainer")
    assert (trace_context.current(), trace_context.current_stage()) == (None, None)


def test_thread_sees_trace_only_with_copied_context() -> None:
    seen: list[str | None] = []
    with trace_context.bound(trace_id=ID):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=lambda: seen.append(trace_context.current())),
            threading.Thread(target=lambda: context.run(lambda: seen.append(trace_context.current()))),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert seen == [None, ID]


def test_asyncio_tasks_have_separate_traces() -> None:
    async def work(trace_id: str) -> list[str | None]:
        with trace_context.bound(trace_id=trace_id):
            await asyncio.sleep(0)
            return [trace_context.current(), await asyncio.to_thread(trace_context.current)]

    async def both() -> list[list[str | None]]:
        return list(await asyncio.gather(work("a" * 32), work("b" * 32)))

    assert asyncio.run(both()) == [["a" * 32] * 2, ["b" * 32] * 2]


@pytest.mark.integration
def test_trace_id_of_run_is_equal_across_processes() -> None:
    code = "from ai_workflow.telemetry import trace_context as trace; print(trace.trace_id_of_run('run-1'))"
    assert processes.python(code) == trace_context.trace_id_of_run("run-1")
    assert trace_context.trace_id_of_run("run-2") != trace_context.trace_id_of_run("run-1")
    assert len(trace_context.trace_id_of_run("run-1")) == 32


def test_assigned_trace_id_of_run_is_used() -> None:
    trace_context.set_trace_of_run("run-with-a-caller", ID)
    assert trace_context.trace_id_of_run("run-with-a-caller") == ID


def test_short_trace_id_has_eight_digits() -> None:
    assert trace_context.short(ID) == "4bf92f35"
