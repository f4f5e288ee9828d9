"""Quality gate: score a trained model on the holdout, beside the baseline and the stable model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ai_workflow import json_text
from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.evaluation import (
    baseline,
    calibration_report,
    champion,
    constant_model,
    curves,
    evaluation_warnings,
    mean_contributions,
    model_card,
    plots,
    quality_gate,
    scores,
)
from ai_workflow.evaluation.champion import ChampionOptions
from ai_workflow.evaluation.mean_contributions import RowSample
from ai_workflow.evaluation.quality_gate import QualityGate
from ai_workflow.evaluation.report import MetricValue
from ai_workflow.features import transform
from ai_workflow.features.calibration import Calibrator
from ai_workflow.features.decision import predicted_classes
from ai_workflow.registry import golden_rows
from ai_workflow.registry.golden_rows import GoldenRecord
from ai_workflow.runtime import memory_pressure
from ai_workflow.stage_names import stage
from ai_workflow.stages import cross_validation, holdout_slices, training_summary
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET, read_spec
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import contributions, protocol

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.evaluation.curves import Curves
    from ai_workflow.evaluation.report import EvaluationReport, StableScores, TrainingSummary
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.feature_engineering import FeatureData
    from ai_workflow.stages.parameter_search import SearchResult
    from ai_workflow.stages.preprocessor import CleanData
    from ai_workflow.stages.trainer import TrainedModel
    from ai_workflow.training.protocol import FeatureImportance

FOLDER = f"{partitions.FOLDER}/evaluated"
_MAX_PLOTTED_ROWS = 2_000
_BASELINE_REMEDY = (
    "Give columns that say more about the target, or more rows; evaluate.beat_baseline: false lets such a model pass. "
)
# The predictions for the whole holdout are in memory at once; the rows are read in slices.
log = logger("evaluator")


class EvaluationResult(MetricValue):
    """Result of `evaluate`: references to report, card, plots and golden rows, by file name; its own warnings."""

    fingerprint: str
    files: dict[str, FileRecord]
    message: str
    warnings: list[str]


@stage("evaluator")
def evaluate(
    store: Store,
    clean: CleanData,
    featured: FeatureData,
    trained: TrainedModel,
    gate: QualityGate,
    champion_options: ChampionOptions,
    search: SearchResult | None = None,
) -> EvaluationResult:
    """Score the model on the holdout, and write the report, the card, the plots and the golden rows.

    Raises:
        StageError: the gate rejects the model, after the report and the card are written; or a prediction is not
            finite.
        StoreError: the model or a partition is missing or damaged.
    """
    spec, features = read_spec(store, featured), Dataset.load(store, featured)
    gate.check(spec["classes"])
    model = store.read(trained["model"]["path"], trained["model"]["sha256"])
    predict = protocol.load(trained["kind"], model)
    y, outputs, sample = _holdout(store, features, spec, predict, len(model))
    calibrate = _calibrator(trained, spec)
    predictions = calibrate(outputs)
    stable = None
    if champion_options.version:
        stable = champion.score(store, Dataset.load(store, clean), spec, champion_options, gate.scoring)
    importance = protocol.importance(trained["kind"], model, transform.names(spec))
    summary = training_summary.of(store, spec, clean, featured, trained)
    report = _report(spec, y, predictions, gate, stable, importance, summary)
    report["contributions"] = mean_contributions.compute(contributions.of(predict), sample, spec)
    if spec["classes"] is not None:
        is_correct = predicted_classes(predictions, gate.scoring.decision(spec["classes"])) == y
        report["slices"] = holdout_slices.worst(store, features, spec, is_correct, importance)
    if calibration := trained["calibration"]:
        rows = trained["calibration_rows"]
        report["calibration"] = calibration_report.of(calibration["method"], rows, y, outputs, predictions)
    if folds := gate.cross_validation:
        dataset = Dataset.load(store, clean)
        report["cross_validation"] = cross_validation.run(store, dataset, features, spec, gate.scoring, folds)
    report["search"] = search["report"] if search else None
    own_warnings = evaluation_warnings.find(report)
    # Earlier stages have logged their own warnings.
    earlier = [*(search["warnings"] if search else []), *clean["warnings"], *featured["warnings"]]
    report["warnings"] = [*own_warnings, *earlier]
    golden = _golden(store, clean, spec, lambda x: calibrate(predict(x)))
    key = fingerprint.of("evaluated", clean, featured, trained, gate, champion_options, *([search] if search else []))
    refs = _write(store, key, report, golden)
    for text in own_warnings:
        log.warning("%s", text)
    verdict, value = report["gate"]["verdict"], report["scores"][scores.key(gate.metric)]
    if not report["gate"]["passed"]:
        raise _rejection(verdict, store.url(refs["card.md"]["path"]), beats_baseline=report["gate"]["beats_baseline"])
    message = f"{gate.metric} {scores.format_score(value)} on {len(y)} rows held out: {verdict}"
    log.info(message)
    result: EvaluationResult = {
        "fingerprint": fingerprint.of(trained, report["scores"], gate), "files": refs, "message": message,
        "warnings": own_warnings,
    }  # fmt: skip
    result[scores.key(gate.metric)] = value
    return result


def _report(
    spec: FeatureSpec,
    y: np.ndarray,
    predictions: np.ndarray,
    gate: QualityGate,
    stable: StableScores | None,
    importance: list[FeatureImportance],
    summary: TrainingSummary,
) -> EvaluationReport:
    """Return the report on (n,) labels `y` and the predictions for the same rows, without plots."""
    candidate = scores.compute(y, predictions, spec, gate.scoring)
    comparison = baseline.compare(gate.metric, y, predictions, spec, gate.scoring)
    passed, verdict = quality_gate.judge(candidate, gate, stable, comparison)
    return {
        **summary,
        "scores": candidate,
        "scoring": gate.scoring.record(spec),
        "threshold": gate.scoring.decision(spec["classes"]) if spec["classes"] else None,
        "calibration": None,
        "cross_validation": None,
        "search": None,
        "baseline": constant_model.scores_of(y, spec, gate.scoring),
        "stable": stable,
        "gate": quality_gate.report(gate, comparison, passed=passed, verdict=verdict),
        "holdout_rows": len(y),
        "importance": importance,
        "contributions": None,
        "curves": _curves(spec, y, predictions, gate),
        "slices": [],
        "sample": _sample(y, predictions) if spec["classes"] is None else [],
        "warnings": [],
        "plots": [],
    }


def _calibrator(trained: TrainedModel, spec: FeatureSpec) -> protocol.Predict:
    """Return the function from outputs of the model to predictions."""
    calibration, classes = trained["calibration"], spec["classes"]
    return Calibrator(calibration, len(classes)).apply if calibration and classes else lambda outputs: outputs


def _curves(spec: FeatureSpec, y: np.ndarray, predictions: np.ndarray, gate: QualityGate) -> Curves | None:
    classes = spec["classes"]
    return curves.compute(y, predictions, gate.scoring.positive(classes)) if classes else None


def _golden(store: Store, clean: CleanData, spec: FeatureSpec, predict: protocol.Predict) -> GoldenRecord:
    """Return golden rows of the clean data, with the predictions of the model."""
    dataset = Dataset.load(store, clean)
    choose = partial(golden_rows.choose, store, dataset, spec, predict)
    return memory_pressure.with_smaller_batches(choose, dataset.largest, remedy=memory_pressure.HOLDOUT_REMEDY)


def _rejection(verdict: str, card: str, *, beats_baseline: bool) -> StageError:
    remedy = "Nothing is published" if beats_baseline else f"{_BASELINE_REMEDY}Nothing is published"
    return StageError(f"the gate rejects the model: {verdict}; its card is {card}", remedy)


def _sample(y: np.ndarray, predictions: np.ndarray) -> list[tuple[float, float]]:
    """Return the first labels of the holdout with their predictions, for the plot of a regression."""
    pairs = zip(y[:_MAX_PLOTTED_ROWS], predictions[:_MAX_PLOTTED_ROWS], strict=True)
    return [(float(label), float(prediction)) for label, prediction in pairs]


def _holdout(
    store: Store, features: Dataset, spec: FeatureSpec, predict: protocol.Predict, model_bytes: int
) -> tuple[np.ndarray, np.ndarray, RowSample]:
    """Return labels, predictions and a sample of the rows held out, read in smaller batches if memory runs out."""
    predict_rows = partial(_predict_holdout, store, features, spec, predict, model_bytes)
    return memory_pressure.with_smaller_batches(predict_rows, features.largest, remedy=memory_pressure.HOLDOUT_REMEDY)


def _predict_holdout(
    store: Store, dataset: Dataset, spec: FeatureSpec, predict: protocol.Predict, model_bytes: int, rows_at_once: int
) -> tuple[np.ndarray, np.ndarray, RowSample]:
    """Return labels, predictions and a sample of the rows held out."""
    import numpy as np

    names = transform.names(spec)
    labels = []
    outputs = []
    sample = RowSample(model_bytes)
    for _, frame in partitions.frames(store, dataset, [TARGET, HOLDOUT, *names], rows_at_once):
        held_out = frame[frame[HOLDOUT]]
        if len(held_out):
            labels.append(held_out[TARGET].to_numpy("float64"))
            x = held_out[names].to_numpy("float32")
            outputs.append(predict(x))
            sample.add(x)
    predictions = np.concatenate(outputs)
    is_finite = np.isfinite(predictions.reshape(len(predictions), -1)).all(axis=1)
    if not is_finite.all():
        raise StageError(
            f"the model's predictions for {int((~is_finite).sum())} of {len(predictions)} rows held out are not finite",
            "Lower the learning rate in trainer.params, or scale the target and the columns down",
        )
    return np.concatenate(labels), predictions, sample


def _write(store: Store, key: str, report: EvaluationReport, golden: GoldenRecord) -> dict[str, FileRecord]:
    svgs = plots.draw(report)
    report["plots"] = sorted(svgs)
    files = {"report.json": json_text.document(report), "golden.json": json_text.document(golden)}
    files |= {"card.md": model_card.render(report).encode(), **svgs}
    return {name: store.write(f"{FOLDER}/{key}/{name}", data).to_json() for name, data in sorted(files.items())}
