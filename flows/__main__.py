"""`python -m flows training`: runs a flow by hand, against the server that PREFECT_API_URL names."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import signal
import sys

from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub

FLOWS = ("training", "scoring", "evaluation", "recovery", "promotion", "retention", "drill")


def main() -> int:
    """Run one flow; 0 if it completed."""
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument("--config", help="pipeline file; the pipeline of config/base.yaml if not given")
    parser.add_argument("--environment", help="which config/<environment>.yaml applies")
    given = parser.parse_args()
    try:
        dotenv.load()
    except AiWorkflowError as error:
        sys.stderr.write(f"error: {scrub(str(error))}\n")
        return 1
    # Importing Prefect makes objects by the hundred thousand that all live on: collecting meanwhile finds nothing,
    # and takes a tenth of a run whose stages are all cached.
    gc.disable()
    flow = getattr(importlib.import_module(f"flows.{given.flow}"), given.flow)
    gc.freeze()
    gc.enable()
    try:
        state = asyncio.run(flow(given.config, given.environment, return_state=True))
    except KeyboardInterrupt:
        # A second one, or one where nothing was under way yet: Prefect has said so, and a traceback says no more.
        return 128 + signal.SIGINT
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
