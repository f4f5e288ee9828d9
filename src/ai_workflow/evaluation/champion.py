"""Asks the version behind `stable` about the rows that judge a candidate, so that the two can be compared."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from ai_workflow.config.settings import ConfigModel
from ai_workflow.config.settings.config_model import NOT_IN_KEY
from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import AiWorkflowError
from ai_workflow.evaluation import scores
from ai_workflow.features import transform
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.runtime import memory_pressure
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import numpy as np

_ROWS_AT_ONCE = 10_000
_LESS_HELD = f"{memory_pressure.MORE_MEMORY}, or hold out fewer rows: evaluate.holdout"
log = logger("evaluator")


class Rival(ConfigModel):
    """The version behind `stable`, compared with the candidate on the same rows; none if it is that very model."""

    version: str | None
    folder: str
    timeout: Annotated[float, NOT_IN_KEY]


def version(store: Store, registry: Registry, trained: dict[str, Any]) -> str | None:
    """Return the version behind `stable`, or None if there is none, it is the model just trained, or it is damaged."""
    name = registry.aliases()["stable"]
    if name is None:
        return None
    try:
        version = registry.get(name)
    except AiWorkflowError as error:
        # What cannot be read cannot be served either, and must not keep a good model from taking its place.
        log.warning("stable cannot be read (%s): the gate judges by evaluate.minimum alone", error)
        return None
    return None if version.manifest["model"] == trained["fingerprint"] else name


def score(store: Store, clean: Dataset, spec: dict[str, Any], against: Rival) -> dict[str, Any]:
    """Return the scores of `stable` on the same rows; if it cannot read them, those it was published with."""
    registry = Registry(store, against.folder)
    with registry.leased(against.version or "", "evaluation") as version:
        return _scores(store, clean, spec, against, registry, version)


def _scores(
    store: Store, clean: Dataset, spec: dict[str, Any], against: Rival, registry: Registry, version: Version
) -> dict[str, Any]:
    try:
        its = json.loads(registry.read(version, "features.json"))
        if (asked := f"{its['task']} of {its['target']}") != f"{spec['task']} of {spec['target']}":
            note = f"{version.name} answers another question ({asked}), so the two are not compared."
            return {"version": version.name, "scores": {}, "note": note}
        model = registry.read(version, version.manifest["model_file"])
        with ModelProcess(version.name, version.manifest["kind"], model, against.timeout) as process:
            ask = partial(_ask, store, clean, spec, its, process)
            y, answers = memory_pressure.with_smaller_batches(ask, clean.largest, remedy=_LESS_HELD)
        return {"version": version.name, "scores": scores.of(y, answers, spec), "note": ""}
    except (AiWorkflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        log.warning("%s cannot be asked about these rows (%s); its scores at publishing stand in", version.name, error)
        note = f"{version.name} could not be asked about these rows; its scores are those of its publishing, on others."
        return {"version": version.name, "scores": version.manifest["scores"], "note": note}


def _ask(
    store: Store, clean: Dataset, spec: dict[str, Any], its: dict[str, Any], process: ModelProcess, size: int
) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    truths, answers = [], []
    for _, frame in partitions.frames(store, clean, rows=size):
        held = frame[split.is_holdout(frame, spec["split"])]
        for start in range(0, len(held), _ROWS_AT_ONCE):
            rows = held.iloc[start : start + _ROWS_AT_ONCE]
            found = process.predict(transform.transform(transform.coerce_columns(rows, its), its))
            answers.append(_in_order(found, its["classes"], spec["classes"]))
            truths.append(_truth(rows[spec["target"]], spec["classes"]))
    return np.concatenate(truths), np.concatenate(answers)


def _in_order(answer: np.ndarray, theirs: list[str] | None, ours: list[str] | None) -> np.ndarray:
    """Return probabilities in the order of our classes; a class it does not know has none."""
    import numpy as np

    if ours is None or theirs is None:
        return answer
    padded = np.column_stack([answer, np.zeros(len(answer))])
    return padded[:, [theirs.index(name) if name in theirs else -1 for name in ours]]


def _truth(values: Any, classes: list[str] | None) -> np.ndarray:
    if classes is not None:
        values = values.map({name: index for index, name in enumerate(classes)}).fillna(-1)
    return values.to_numpy("float64")  # type: ignore[no-any-return]
