"""`python -m flows training`: runs a flow by hand, against the server that PREFECT_API_URL names."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import signal
import sys

import httpx

from ai_workflow.prefect_answers import explain

FLOWS = ("training", "scoring", "evaluation", "recovery", "promotion", "retention", "drill")


def main() -> int:
    """Run one flow; 0 if it completed."""
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument("--config", help="pipeline file; the pipeline of config/base.yaml if not given")
    parser.add_argument("--environment", help="which config/<environment>.yaml applies")
    given = parser.parse_args()
    # Without PREFECT_API_URL Prefect starts a server for the time of the run, which every web page may read by default.
    os.environ.setdefault("PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS", "http://127.0.0.1")
    os.environ.setdefault("PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED", "true")
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
    except httpx.HTTPStatusError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
