"""Compaction of the prediction log: moves closed segments to `predictions/`, as Parquet.

It is idempotent: the output depends only on the bytes of a segment. After a kill, the next compaction resumes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_workflow import json_text
from ai_workflow.datasets import partitions
from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference import prediction_files
from ai_workflow.storage import locks
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from ai_workflow.serving.logs.prediction_record import PredictionLine

SOURCE = "service"
log = logger("prediction_log")


def compact(store: Store, folder: Path, pipeline: str) -> int:
    """Move the rows of closed segments to `predictions/<pipeline>/<version>/`; return their number.

    Raises:
        StoreError: the rows cannot be written; their segment stays.
    """
    rows = 0
    for path in sorted(folder.glob("*.jsonl")):
        with locks.abandoned(path) as segment:
            if segment:
                rows += _move(store, path, pipeline)
    return rows


def _move(store: Store, path: Path, pipeline: str) -> int:
    data = path.read_bytes()
    lines = list(_lines(data, path))
    name = f"service-{hashlib.sha256(data).hexdigest()[:16]}"
    for version in sorted({line["model_version"] for line in lines}):
        of_version = [line for line in lines if line["model_version"] == version]
        folder = f"{prediction_files.FOLDER}/{pipeline}/{version}/{name}"
        part = partitions.write(store, f"{folder}/part-00000.parquet", _frame(of_version), SOURCE)
        first = min(line["time"] for line in of_version)
        body = {
            "pipeline": pipeline, "model_version": version, "rows": part.rows, "first": first,
            "partitions": [asdict(part)],
        }  # fmt: skip
        store.write_record(f"{folder}/manifest.json", body)
    path.unlink()
    return len(lines)


def _lines(data: bytes, path: Path) -> Iterator[PredictionLine]:
    """Yield the lines of a segment; skip an incomplete one, which a killed service may leave."""
    for number, line in enumerate(data.splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError:
            log.warning("%s line %d is incomplete and was skipped", path, number)


def _frame(lines: list[PredictionLine]) -> Any:
    import pandas as pd

    frame = pd.DataFrame(lines)
    has_values = "values" in frame
    frame = frame.reindex(columns=[*_COLUMNS, *(["values"] if has_values else [])])
    numbers = all(isinstance(line["prediction"], int | float | None) for line in lines)
    for name in _TEXTS if numbers else (*_TEXTS, "prediction"):
        frame[name] = frame[name].map(lambda value: None if value is None else str(value)).astype("str")
    if has_values:
        frame["values"] = frame["values"].map(lambda row: json_text.line(json_text.finite(row)))
    frame["time"] = pd.to_datetime(frame["time"], unit="s").astype("datetime64[us]")
    frame["source"] = SOURCE
    for name in sorted({line["id_column"] for line in lines if "id_column" in line}):
        frame.insert(list(frame).index("id") + 1, name, frame["id"])
    for name in dict.fromkeys(name for line in lines for name in line.get("probabilities", ())):
        values = [line.get("probabilities", {}).get(name) for line in lines]
        frame.insert(list(frame).index("model_version"), name, pd.Series(values, dtype="float64"))
    return frame


_TEXTS = ("prediction_id", "id", "model_version", "fallback_reason", "trace_id", "features")
_COLUMNS = (
    "prediction_id", "id", "row", "time", "prediction", "score", "model_version", "fallback_reason", "trace_id",
    "features",
)  # fmt: skip


def main(root: str, folder: str, pipeline: str) -> int:
    """Run a compaction; return the exit status 1, after a log line, if segments are left for the next one."""
    logs.setup()
    logs.capture_all_output()
    try:
        compact(Store(root), Path(folder), pipeline)
    except (AiWorkflowError, OSError) as error:
        log.error("predictions stay in %s for now: %s", folder, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
