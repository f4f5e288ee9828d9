"""Description of the table of the data benchmark, and the result line of each measured process."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

# Points of the quantile statistics, as the feature spec has them.
QUANTILES = [number / 512 for number in range(513)]
HOLDOUT = 0.2
MAX_CATEGORIES = 255
ROW_GROUP_ROWS = 250_000


@dataclass(frozen=True, slots=True)
class Table:
    """A generated table.

    Args:
        source: path or glob pattern of its CSV files.
        types: SQL type of each column for a typed copy; a column with bad cells is text.
        id: the column that identifies a row.
        time: the column that splits training rows from the holdout; None splits by the id.
        target: the column with the class.
        checked: the number column with bad cells.
        bounds: smallest and largest valid value of `checked`.
        rows: number of rows.
        bad: number of rows with a bad cell.
    """

    source: str
    types: dict[str, str]
    id: str
    time: str | None
    target: str
    checked: str
    bounds: tuple[float, float]
    rows: int
    bad: int

    @classmethod
    def read(cls, file: str) -> Table:
        """Read the description that the generator wrote."""
        return cls(**json.loads(Path(file).read_text()))

    @property
    def files(self) -> list[str]:
        """Return the paths of the CSV files in order."""
        source = Path(self.source)
        return sorted(str(file) for file in source.parent.glob(source.name))

    @property
    def inputs(self) -> list[str]:
        """Return the columns without a role: their types are inferred, except that of `checked`."""
        return [name for name in self.types if name not in (self.id, self.time, self.target)]


class Clock:
    """Wall and CPU time of this process since its imports."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = _cpu_seconds()

    def finish(self, kept: int, rejected: int, features: int) -> None:
        """Print times and row counts as the last line of the output."""
        times = {"seconds": time.perf_counter() - self._wall, "cpu": _cpu_seconds() - self._cpu}
        print(json.dumps({"kept": kept, "rejected": rejected, "features": features, **times}), flush=True)


def _cpu_seconds() -> float:
    used = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
