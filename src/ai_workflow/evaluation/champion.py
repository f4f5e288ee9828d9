"""Scores of the champion, the current stable model, on the candidate's holdout."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from ai_workflow.config.settings import ConfigModel, Metric
from ai_workflow.config.settings.config_model import NOT_IN_KEY
from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import AiWorkflowError
from ai_workflow.evaluation import score_options, scores
from ai_workflow.evaluation.score_options import ScoreOptions
from ai_workflow.features import calibration, transform
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.registry.manifest import ScoringRecord
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.runtime import memory_pressure
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.evaluation.report import Scores, StableScores
    from ai_workflow.features.spec import FeatureSpec

_BATCH_ROWS = 10_000
log = logger("evaluator")


class ChampionOptions(ConfigModel):
    """The stable version to compare the candidate with; `version` is None if there is none."""

    version: str | None
    folder: str
    timeout: Annotated[float, NOT_IN_KEY]


def find(registry: Registry, candidate: str) -> str | None:
    """Return the stable version, or None if there is none, it is the candidate itself, or it is unreadable.

    Args:
        registry: the published versions.
        candidate: fingerprint of the trained model.
    """
    name = registry.aliases()["stable"]
    if name is None:
        return None
    try:
        version = registry.get(name)
    except AiWorkflowError as error:
        # An unreadable stable version cannot be served either, so it must not block a good candidate.
        log.warning("stable cannot be read (%s): the gate judges by evaluate.minimum alone", error)
        return None
    return None if version.manifest["model"] == candidate else name


def score(
    store: Store,
    clean: Dataset,
    spec: FeatureSpec,
    options: ChampionOptions,
    scoring: ScoreOptions = score_options.DEFAULTS,
) -> StableScores:
    """Return the champion's scores on the holdout, or those of its publication if it cannot read these rows."""
    registry = Registry(store, options.folder)
    with registry.leased(options.version or "", "evaluation") as version:
        return _scores(store, clean, spec, options, scoring, registry, version)


def _scores(
    store: Store,
    clean: Dataset,
    spec: FeatureSpec,
    options: ChampionOptions,
    scoring: ScoreOptions,
    registry: Registry,
    version: Version,
) -> StableScores:
    try:
        own_spec: FeatureSpec = json.loads(registry.read(version, "features.json"))
        own_task = f"{own_spec['task']} of {own_spec['target']}"
        if own_task != f"{spec['task']} of {spec['target']}":
            note = f"{version.name} has another task ({own_task}), so the two are not compared."
            return {"version": version.name, "scores": {}, "note": note}
        model = registry.read(version, version.manifest["model_file"])
        calibrator = calibration.of(own_spec)
        with ModelProcess(version.name, version.manifest["kind"], model, options.timeout, calibrator) as process:
            predict = partial(_predict, store, clean, spec, own_spec, process)
            y, predictions = memory_pressure.with_smaller_batches(
                predict, clean.largest, remedy=memory_pressure.HOLDOUT_REMEDY
            )
        return {"version": version.name, "scores": _own_scores(y, predictions, spec, own_spec, scoring), "note": ""}
    except (AiWorkflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        log.warning("%s cannot score these rows (%s); its scores at publication are used", version.name, error)
        note = f"{version.name} could not score these rows; its scores are those of its publication, on other rows."
        return {"version": version.name, "scores": _published(version, scoring.record(spec)), "note": note}


def _own_scores(
    y: np.ndarray, predictions: np.ndarray, spec: FeatureSpec, own_spec: FeatureSpec, scoring: ScoreOptions
) -> Scores:
    """Return the scores of the champion with its own threshold, in the classes of the candidate."""
    plain = scoring.model_copy(update={"threshold": None, "own_per_class": None})
    threshold = own_spec.get("threshold") if own_spec["classes"] == spec["classes"] else None
    return scores.compute(y, predictions, spec, plain, threshold)


def _published(version: Version, scoring: ScoringRecord) -> dict[Metric, float | None]:
    """Return the scores of the publication, without those that had other options or other code."""
    before: dict[str, Any] = {**version.manifest.get("scoring", {})}
    codes, own = scoring.get("own", {}), before.pop("own", {})
    is_equal = before == {name: value for name, value in scoring.items() if name != "own"}

    def is_comparable(name: str) -> bool:
        if name in codes:
            return bool(codes[name] == own.get(name))
        return is_equal or name not in scores.WITH_OPTIONS

    return {name: value for name, value in version.manifest["scores"].items() if is_comparable(name)}


def _predict(
    store: Store, clean: Dataset, spec: FeatureSpec, own_spec: FeatureSpec, process: ModelProcess, rows_at_once: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions of the holdout, in the classes of the candidate."""
    import numpy as np

    labels = []
    predictions = []
    for part, frame in partitions.frames(store, clean, rows=rows_at_once):
        held_out = frame[split.is_holdout(frame, spec["split"], part.source)]
        for start in range(0, len(held_out), _BATCH_ROWS):
            rows = held_out.iloc[start : start + _BATCH_ROWS]
            output = process.predict(transform.transform(transform.coerce_columns(rows, own_spec), own_spec))
            predictions.append(_reorder_classes(output, own_spec["classes"], spec["classes"]))
            labels.append(_labels(rows[spec["target"]], spec["classes"]))
    return np.concatenate(labels), np.concatenate(predictions)


def _reorder_classes(output: np.ndarray, champion: list[str] | None, candidate: list[str] | None) -> np.ndarray:
    """Return probabilities in the order of the candidate's classes; 0 for a class that the champion lacks."""
    import numpy as np

    if candidate is None or champion is None:
        return output
    padded = np.column_stack([output, np.zeros(len(output))])
    return padded[:, [champion.index(name) if name in champion else -1 for name in candidate]]


def _labels(values: Any, classes: list[str] | None) -> np.ndarray:
    if classes is not None:
        values = values.map({name: index for index, name in enumerate(classes)}).fillna(-1)
    return values.to_numpy("float64")  # type: ignore[no-any-return]
