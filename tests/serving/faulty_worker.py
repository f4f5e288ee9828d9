"""A model's process whose model fails as a file says: FOLDER/<version> holds the fault; without it, all is well."""

from __future__ import annotations

import ctypes
import math
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ai_workflow.inference import worker


def _raise() -> None:
    raise RuntimeError("the model cannot")


_BEFORE: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "hang": lambda: ctypes.CDLL(None).sleep(3600),
    "hang holding the GIL": lambda: ctypes.PyDLL(None).sleep(3600),
    "segfault": lambda: ctypes.string_at(0),
    "slow": lambda: time.sleep(0.2),
}
_AFTER: dict[str, Callable[[bytes], bytes]] = {
    "NaN": lambda answers: struct.pack("<d", math.nan) * (len(answers) // 8),
    "no probability": lambda answers: struct.pack("<d", 7.0) * (len(answers) // 8),
    "too few": lambda answers: answers[:-8],
}


def _answering(answer: worker.Predict, fault: Path) -> worker.Predict:
    def kind_of_fault() -> str:
        try:
            return fault.read_text()
        except FileNotFoundError:
            return ""

    def failing(rows: memoryview, count: int) -> bytes:
        kind = kind_of_fault()
        while kind == "held" == kind_of_fault():
            time.sleep(0.01)
        _BEFORE.get(kind, lambda: None)()
        return _AFTER.get(kind, bytes)(bytes(answer(rows, count)))

    return failing


def main(folder: str, *arguments: str) -> None:
    """Serve as `worker` does, by a model that fails."""
    load = worker.load

    def loaded(kind: str, model: int, features: int) -> worker.LoadedFunctions:
        answer, outputs, contributions = load(kind, model, features)
        version = str(Path(f"/proc/self/fd/{model}").readlink()).removeprefix("/memfd:").removesuffix(" (deleted)")
        # A file `<version> contributions` makes these fail, and not the predictions.
        explain = contributions and _answering(contributions, Path(folder) / f"{version} contributions")
        return worker.LoadedFunctions(_answering(answer, Path(folder) / version), outputs, explain)

    worker.load = loaded
    worker.main(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
