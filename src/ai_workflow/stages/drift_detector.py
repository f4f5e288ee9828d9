"""Says how far what each version is asked, and answers, has moved from what its training saw."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import ConfigModel, Settings
from ai_workflow.datasets import column_profile, parquet, partitions
from ai_workflow.datasets.partitions import Partition
from ai_workflow.errors import AiWorkflowError
from ai_workflow.features import transform
from ai_workflow.features.cell_reader import CellReader
from ai_workflow.inference.stored_predictions import BATCH
from ai_workflow.quality import drift
from ai_workflow.quality.drift import Drift
from ai_workflow.registry.registry import Registry
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd

# The prediction, among the columns.
_ANSWER = "(prediction)"
_NONE: dict[str, Any] = {
    "features": {},
    "prediction": {"psi": None},
    "threshold": None,
    "ks_threshold": None,
    "rows": 0,
}
log = logger("drift_detector")


class Watched(ConfigModel):
    """Whose versions are watched, and the PSI below which nothing is called drift."""

    folder: str
    floor: float

    @classmethod
    def of(cls, settings: Settings) -> Watched:
        """Return what the settings say."""
        return cls(folder=settings.models, floor=settings.evaluation.drift_floor)


@stage("drift_detector")
def detect(store: Store, joined: dict[str, Any], watched: Watched) -> dict[str, Any]:
    """Compare the latest predictions of each version with the statistics of its training, and return what was found.

    Columns are compared where the service keeps values (`service.prediction_log.values`); predictions always are. Dates
    are left out: they move on by themselves. `threshold` is a PSI that none of the columns reaches by chance in 99 of
    100 evaluations, so rows as few as these never call for it by themselves.

    Raises:
        StoreError: the list of latest predictions is damaged.
    """
    registry, found, said = Registry(store, watched.folder), {}, []
    for version in registry.versions():
        found[version] = _NONE
        if version not in joined["latest"]:
            continue
        latest = partitions.read(store, Partition(**joined["latest"][version]))
        try:
            of = registry.get(version)
            spec, card = (json.loads(registry.read(of, name)) for name in ("features.json", "card.json"))
        except (AiWorkflowError, ValueError) as error:
            log.warning("%s tells nothing to compare with: %s", version, error)
            continue
        columns, rows = _of_columns(store, latest, spec)
        answer = _of_answers(latest["prediction"], card)
        measured = columns | ({_ANSWER: answer} if answer else {})
        found[version] = _described(measured, max(rows, answer.rows if answer else 0), watched.floor)
        said += [f"{version}: {name}" for name in _drifting(found[version])]
    message = f"drift in {', '.join(said[:5])}{' and more' if len(said) > 5 else ''}" if said else "no drift"
    (log.warning if said else log.info)(message)
    return {"drift": found, "message": message}


def _described(measured: dict[str, Drift], rows: int, floor: float) -> dict[str, Any]:
    if not measured:
        return {**_NONE, "rows": rows}
    among = len(measured)
    answer = measured.get(_ANSWER)
    return {
        "features": {name: {"psi": one.psi, "ks": one.ks} for name, one in measured.items() if name != _ANSWER},
        "prediction": {"psi": answer.psi if answer else None},
        "threshold": max(one.threshold(among, floor) for one in measured.values()),
        "ks_threshold": max(one.ks_threshold(among) for one in measured.values()),
        "rows": rows,
    }


def _drifting(found: dict[str, Any]) -> list[str]:
    columns = {**found["features"], _ANSWER: found["prediction"]}
    psi = {name: one["psi"] for name, one in columns.items() if one["psi"] is not None}
    over = [name for name, value in psi.items() if value > found["threshold"]]
    return [f"{name} (PSI {psi[name]:.2f})" for name in sorted(over, key=lambda name: -psi[name])]


def _of_columns(store: Store, latest: pd.DataFrame, spec: dict[str, Any]) -> tuple[dict[str, Drift], int]:
    """Return the drift of each column that says something, and how many rows with values there are."""
    sent, reader = _sent(store, latest), CellReader(spec)
    found: dict[str, Drift] = {}
    for name in transform.input_columns(spec):
        seen, column = spec["statistics"].get(name), reader.columns[name]
        if not sent or not seen or column.type == "datetime":
            continue
        values, _ = reader.of_json(name, [_single(row.get(name)) for row in sent])
        if column.type == "category":
            counts = Counter(values.dropna().tolist())
            missing = int(values.isna().sum())
            one = drift.categorical_drift(counts, dict(map(tuple, seen["counts"])), missing, seen["missing"])
        else:
            one = drift.numeric_drift(values.astype("Float64").astype("float64"), seen)
        found |= {name: one} if one else {}
    return found, len(sent)


def _single(value: Any) -> Any:
    """Return a value, or None for a list or mapping, which no request that was answered by a model can have."""
    return None if isinstance(value, list | dict) else value


def _sent(store: Store, latest: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the latest predictions as they were sent, where they were kept."""
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = []
    for path, wanted in latest.groupby("path")["row"]:
        with parquet.open_file(store, str(path)) as file:
            if "values" not in pq.read_schema(file).names:
                continue
            start = 0
            for table in parquet.batches(file, BATCH, ["values"]):
                rows = wanted[(wanted >= start) & (wanted < start + table.num_rows)] - start
                texts = table["values"].take(rows.tolist()).to_pylist()
                found += [row for text in texts if text and isinstance(row := json.loads(text), dict)]
                start += table.num_rows
    return found


def _of_answers(predictions: pd.Series, card: dict[str, Any]) -> Drift | None:
    """Return the drift of predictions from those for the rows that the evaluator held out."""
    import pandas as pd

    present = predictions.dropna()
    if card.get("classes"):
        held = [sum(column) for column in zip(*card["scores"]["confusion"], strict=True)]
        return drift.categorical_drift(Counter(present.tolist()), dict(zip(card["classes"], held, strict=True)))
    held_out = pd.Series([answer for _, answer in card.get("sample", [])], dtype="float64")
    known = column_profile.merge_numbers([column_profile.profile_numbers(held_out)])
    return drift.numeric_drift(pd.to_numeric(present, errors="coerce").astype("float64"), known)
