"""`python -m tests.kill.rerun FILE`: trains and scores in each store of a JSON list, one after the other.

One process for all of them, since what takes longest in a run whose stages are cached is to import Prefect.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

TRACEPARENT = "00-5c0e5c0e5c0e5c0e5c0e5c0e5c0e5c0e-5c0e5c0e5c0e5c0e-01"


def main(stores: list[str]) -> None:
    """Run both flows in each store, and say how they ended."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    from flows.scoring import scoring
    from flows.training import training

    for store in stores:
        print(f"\n== store {store}", flush=True)
        os.environ["AIW_STORE"] = store
        with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: Path(store) / "results"}):
            trained = asyncio.run(training("pipeline.yaml", return_state=True)).is_completed()
            scored = (
                trained
                and asyncio.run(scoring("pipeline.yaml", traceparent=TRACEPARENT, return_state=True)).is_completed()
            )
        print(f"\n== ended {int(not (trained and scored))}", flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
