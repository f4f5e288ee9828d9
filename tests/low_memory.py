"""`python -m tests.low_memory WORK FOLDER [BYTES]`: a stage in a process whose memory the system limits, by RLIMIT_AS.

Without BYTES what the stage needs is prepared in FOLDER. With it the stage works there, in a copy of its own, with so
many bytes more than the process has by then; 0: as many as it likes. Printed are the log lines, and last one line of
JSON: what the work gave, and how many bytes it took at its most.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.sources.text_index import whole_files
from ai_workflow.stages import data_loader, trainer
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs
from tests.stages.tables import Pipeline, Result, load, settings

# Threads reserve memory that they do not use, and so does Arrow's own allocator.
QUIET = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
NETWORK = {
    "kind": "torch_mlp",
    "steps": 6,
    "params": {"hidden": [512], "schedule": "none"},
    "checkpoint": {"every_steps": 3},
}
ROWS, LINES = 240_000, 300_000


def table(rows: int) -> Any:
    """Return a table whose text takes far more memory as a frame than on disk."""
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(0)
    numbers = {f"n{column}": draw.normal(size=rows) for column in range(6)}
    words = {f"w{column}": draw.choice([f"word {n} of some length" for n in range(40)], rows) for column in range(6)}
    target = np.where(numbers["n0"] + draw.normal(0, 0.3, rows) > 0, "yes", "no")
    return pd.DataFrame({"person": [f"id-{row}" for row in range(rows)], **numbers, **words, "bought": target})


class Place:
    """A store with one large partition, and the stages that may be starved there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = Pipeline(Store(folder / "store"), settings(trainer=NETWORK))

    def prepare(self, name: str, rows: int = ROWS) -> None:
        """Write what a stage needs."""
        self._folder.mkdir(parents=True)
        if name == "loading":
            table(rows if rows < ROWS else LINES).to_csv(self._folder / "rows.csv", index=False)
            return
        made = load(self._run.store, table(rows))
        made = self._run.clean(made) if name != "cleaning" else made
        made = self._run.fit(made) if name in ("training", "scoring") else made
        (self._folder / "made.json").write_text(json.dumps(made))

    def loading(self) -> Result:
        """Load one CSV file by the sequential reader, a small one too."""
        whole_files.MAX_FILE_BYTES = -1
        source = CsvSource(kind="csv", path=str(self._folder / "rows.csv"), keep_copy=True)
        return data_loader.load(self._run.store, source, data_loader.inspect(source))

    def cleaning(self) -> Result:
        """Clean the rows."""
        return self._run.clean(self._made())

    def featuring(self) -> Result:
        """Turn the rows into features."""
        return self._run.fit(self._made())

    def training(self) -> Result:
        """Train with all rows in one step."""
        return trainer.train(self._run.store, self._made(), self._run.settings.trainer, 60_000)

    def rows(self, made: Result) -> dict[str, Any]:
        """Return how many rows a dataset has, and whether its partitions became smaller."""
        dataset = Dataset.load(self._run.store, made)
        return {"rows": dataset.rows, **dataset.reduced}

    def _made(self) -> Result:
        found: Result = json.loads((self._folder / "made.json").read_text())
        return found


def address_space(line: str = "VmSize") -> int:
    """Return the bytes of address space that this process has, or has had at its most (`VmPeak`)."""
    return int(Path("/proc/self/status").read_text().partition(f"{line}:")[2].split()[0]) * 1024


def work(name: str, folder: Path, most: int) -> None:
    """Do the work in a copy of the folder."""
    own = folder.with_name(f"{folder.name}-{os.getpid()}")
    shutil.copytree(folder, own)
    # What is loaded on the first use is not the memory that the rows take.
    small = Place(own / "small")
    small.prepare(name, 2000)
    getattr(small, name)()
    logs.setup()
    place = Place(own)
    do: Callable[[], Result] = getattr(place, name)
    before = address_space()
    if most:
        resource.setrlimit(resource.RLIMIT_AS, (before + most, resource.RLIM_INFINITY))
    made = do()
    gave = {"rows": place.rows(made)} if name == "loading" else made
    print(json.dumps({"gave": gave, "took": address_space("VmPeak") - before}))


if __name__ == "__main__":
    if sys.argv[3:]:
        work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        Place(Path(sys.argv[2])).prepare(sys.argv[1])
