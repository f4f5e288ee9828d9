"""`python -m tests.flows.flow_calls FILE`: run the flows of a JSON list in order, each marked in the output."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from ai_workflow.telemetry import trace_context


def main(calls: list[dict[str, Any]]) -> None:
    """Run each call, and say how it ended."""
    for parameters in calls:
        name = parameters.pop("flow")
        store = parameters.pop("store", None)
        flow = getattr(importlib.import_module(f"flows.{name}"), name)
        print(f"\n== call {name}", flush=True)
        state = asyncio.run(flow(**parameters, return_state=True))
        run = str(state.state_details.flow_run_id)
        ended = {
            "code": int(not state.is_completed()),
            "trace_id": trace_context.trace_id_of_run(run),
            "run": run,
            "store": store,
        }
        print(f"\n== ended {json.dumps(ended)}", flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
