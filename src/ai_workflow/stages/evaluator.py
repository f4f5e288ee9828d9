"""Quality gate: scores a trained model on the rows held out, beside a constant answer and `stable`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ai_workflow import json_text
from ai_workflow.config.settings import ConfigModel, Settings
from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.evaluation import baseline, champion, evaluation_warnings, model_card, plots, scores
from ai_workflow.evaluation.baseline import Comparison
from ai_workflow.features import transform
from ai_workflow.registry import golden_rows
from ai_workflow.runtime import memory_pressure
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET, read_spec
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import protocol

if TYPE_CHECKING:
    import numpy as np

FOLDER = f"{partitions.FOLDER}/evaluated"
_PLOTTED = 2_000
_REMEDY = (
    "Give columns that say more about the target, or more rows; evaluate.beat_baseline: false lets such a model pass. "
)
# All answers of the holdout are held at once; the rows themselves are read in slices.
_LESS_HELD = f"{memory_pressure.MORE_MEMORY}, or hold out fewer rows: evaluate.holdout"
log = logger("evaluator")


class Gate(ConfigModel):
    """Conditions for a candidate: beats a constant answer, reaches `minimum`, is within `tolerance` of `stable`.

    For an error (log_loss, mae, rmse) `minimum` is the largest value that passes.
    """

    metric: str
    minimum: float | None
    tolerance: float
    beat_baseline: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Gate:
        """Return the gate that the settings describe."""
        chosen = settings.evaluate
        return cls(
            metric=settings.metric,
            minimum=chosen.minimum,
            tolerance=chosen.tolerance,
            beat_baseline=chosen.beat_baseline,
        )


@stage("evaluator")
def evaluate(
    store: Store,
    clean: dict[str, Any],
    featured: dict[str, Any],
    trained: dict[str, Any],
    gate: Gate,
    against: champion.Rival,
) -> dict[str, Any]:
    """Score the model on the holdout, write the report, the card, the plots and golden rows, and return references.

    Raises:
        StageError: the gate refuses the model, after the report and the card are written; or an answer is not finite.
        StoreError: the model or a partition is missing or damaged.
    """
    spec = read_spec(store, featured)
    model = store.read(trained["model"]["path"], trained["model"]["sha256"])
    predict = protocol.load(trained["kind"], model)
    made = Dataset.load(store, featured)
    y, answers = memory_pressure.with_smaller_batches(
        partial(_holdout, store, made, spec, predict), made.largest, remedy=_LESS_HELD
    )
    found = scores.of(y, answers, spec)
    stable = champion.score(store, Dataset.load(store, clean), spec, against) if against.version else None
    compared = baseline.compare(gate.metric, y, answers, spec)
    passed, verdict = judge(found, gate, stable, compared)
    report = {
        **_about(spec, clean, featured, trained),
        "scores": found,
        "baseline": scores.baseline(y, spec),
        "stable": stable,
        "gate": {**gate.model_dump(), **_judged(passed, verdict, compared)},
        "holdout_rows": len(y),
        "importance": protocol.importance(trained["kind"], model, transform.names(spec)),
        "sample": _sample(y, answers) if spec["classes"] is None else [],
    }
    report["warnings"] = evaluation_warnings.of(report)
    chosen = _golden(store, clean, spec, predict)
    refs = _write(store, fingerprint.of("evaluated", clean, featured, trained, gate, against), report, chosen)
    for text in report["warnings"]:
        log.warning("%s", text)
    if not passed:
        raise _refused(verdict, store.url(refs["card.md"]["path"]), beats_baseline=compared.beats)
    value = found[gate.metric]
    message = f"{gate.metric} {scores.shown(value)} on {len(y)} rows held out: {verdict}"
    log.info(message)
    return {"fingerprint": fingerprint.of(trained, found, gate), "files": refs, gate.metric: value, "message": message}


def _golden(store: Store, clean: dict[str, Any], spec: dict[str, Any], predict: Any) -> Any:
    """Return golden rows of the clean data, with the answers of the model."""
    cleaned = Dataset.load(store, clean)
    choose = partial(golden_rows.choose, store, cleaned, spec, predict)
    return memory_pressure.with_smaller_batches(choose, cleaned.largest, remedy=_LESS_HELD)


def _refused(verdict: str, card: str, *, beats_baseline: bool) -> StageError:
    remedy = "Nothing is published" if beats_baseline else f"{_REMEDY}Nothing is published"
    return StageError(f"the gate refuses the model: {verdict}; its card is {card}", remedy)


def _judged(passed: bool, verdict: str, compared: Comparison) -> dict[str, Any]:
    return {"passed": passed, "verdict": verdict, "baseline": compared.value, "beats_baseline": compared.beats}


def _sample(y: Any, answers: Any) -> list[list[float]]:
    """Return the first labels of the holdout with their predictions, for the plot of a regression."""
    return [[float(a), float(b)] for a, b in zip(y[:_PLOTTED], answers[:_PLOTTED], strict=True)]


def judge(
    found: dict[str, Any], gate: Gate, stable: dict[str, Any] | None, compared: Comparison | None = None
) -> tuple[bool, str]:
    """Return whether the scores pass the gate, and why.

    Args:
        found: scores of the candidate.
        gate: the conditions.
        stable: version and scores of the champion; None if there is none.
        compared: the comparison with the constant answer; None if there is none.
    """
    value = found[gate.metric]
    if value is None:
        return False, (
            f"{gate.metric} cannot be computed: the holdout has one class, or one value, only, or values so large "
            "that it overflows"
        )
    if compared and gate.beat_baseline and not compared.beats:
        return False, f"{compared.reason(value)} (evaluate.beat_baseline)"
    sign = 1 if scores.HIGHER_IS_BETTER[gate.metric] else -1
    if gate.minimum is not None and sign * value < sign * gate.minimum:
        side = "below the minimum" if sign > 0 else "above the most allowed"
        return False, f"{gate.metric} {scores.shown(value)} is {side} {gate.minimum:g} (evaluate.minimum)"
    before = stable["scores"].get(gate.metric) if stable else None
    if stable and before is not None and sign * value < sign * before - gate.tolerance:
        return False, (
            f"{gate.metric} {scores.shown(value)} is worse than that of stable {stable['version']}, "
            f"{scores.shown(before)}, by more than {gate.tolerance:g} (evaluate.tolerance)"
        )
    against = f", stable {stable['version']} has {scores.shown(before)}" if stable and before is not None else ""
    return True, f"passes{_beside(compared, value)}{against}"


def _beside(compared: Comparison | None, value: float) -> str:
    if compared is None:
        return ""
    if compared.beats:
        return f", the constant answer has {scores.shown(compared.value)}"
    return f", although {compared.reason(value)} (evaluate.beat_baseline: false)"


def _holdout(
    store: Store, dataset: Dataset, spec: dict[str, Any], predict: protocol.Predict, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    names, truths, answers = transform.names(spec), [], []
    for _, frame in partitions.frames(store, dataset, [TARGET, HOLDOUT, *names], rows):
        held = frame[frame[HOLDOUT]]
        if len(held):
            truths.append(held[TARGET].to_numpy("float64"))
            answers.append(predict(held[names].to_numpy("float32")))
    found = np.concatenate(answers)
    if wrong := int((~np.isfinite(found.reshape(len(found), -1))).any(axis=1).sum()):
        raise StageError(
            f"the model's answers to {wrong} of {len(found)} rows held out are not finite numbers",
            "Lower the learning rate in trainer.params, or scale the target and the columns down",
        )
    return np.concatenate(truths), found


def _about(
    spec: dict[str, Any], clean: dict[str, Any], featured: dict[str, Any], trained: dict[str, Any]
) -> dict[str, Any]:
    parting = spec["split"]
    by = (
        f"the rows from {parting['cutoff']} on"
        if parting["cutoff"]
        else f"{parting['holdout']:.0%} by the hash of the id"
    )
    return {
        "pipeline": spec["pipeline"],
        "task": spec["task"],
        "target": spec["target"],
        "classes": spec["classes"],
        "holdout": by,
        "kind": trained["kind"],
        "library": trained["library"],
        "steps": trained["steps"],
        "losses": trained["losses"],
        "training_rows": trained["training_rows"],
        "validation_rows": trained["validation_rows"],
        "reduced": trained["reduced"],
        "adapted": trained["adapted"],
        "features": featured["features"],
        "columns": len(transform.input_columns(spec)),
        "data": clean["fingerprint"],
        "trace_id": trace_context.current(),
    }


def _write(store: Store, key: str, report: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    drawn = plots.draw(report)
    report["plots"] = sorted(drawn)
    texts = {"report.json": report, "golden.json": chosen}
    files = {name: json_text.document(body) for name, body in texts.items()}
    files |= {"card.md": model_card.render(report).encode(), **drawn}
    return {name: store.write(f"{FOLDER}/{key}/{name}", data).to_json() for name, data in sorted(files.items())}
