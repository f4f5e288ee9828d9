"""Alerts about what the predictions are worth: accuracy once labels are known, labels that stop, drift."""

from __future__ import annotations

from collections.abc import Callable

from ai_workflow.slo.alert import (  # fmt: skip
    OVER,
    UNDER,
    Alert,
    Numbers,
    Series,
    Trial,
    changed,
    fires_after,
    fixed,
    labels,
    near,
    overdue,
    stopped,
)

_LABELS = 'job="exporter",instance="e",pipeline="credit",model_version="{}"'


def _accuracy(limit: str) -> Callable[[Numbers], Trial]:
    def trial(n: Numbers) -> Trial:
        step, onset = max(1, n.hold // 10), 5 * max(1, n.hold // 10)

        def series(case: str, least: float, alias: str = "latest", **accuracy: float) -> Series:
            where = _LABELS.format(case)
            return {
                f"model_accuracy_upper{{{where}}}": changed(onset, 1, accuracy[limit]),
                f"model_labeled_predictions_window{{{where}}}": fixed(least),
                f'model_registry_info{{{where},alias="{alias}"}}': fixed(1),
            }

        limits = near({limit: n[limit], "least": n["least"]}, below=(limit,))
        cases = {case: series(case, alias="latest", **at) for case, at in limits.items()}
        cases["retired"] = series("retired", alias="previous", **limits["fires"])
        cases["stable"] = series("stable", alias="stable", **limits[f"no_{limit}"])
        return Trial(
            step, cases, labels("model_version", pipeline="credit"),
            fires_after(onset, n, step, n[limit] * UNDER),
        )  # fmt: skip

    return trial


def _labels_stale(n: Numbers) -> Trial:
    step = max(1, n.hold // 10)
    onset, told, every = overdue(10 * n.hold, n.seconds("age"), n, step)
    name = 'model_last_label_timestamp_seconds{{job="exporter",pipeline="{}",model_version="v1"}}'
    return Trial(
        step,
        {"fires": {name.format("fires"): stopped(onset)}, "fed": {name.format("fed"): stopped(10**8)}},
        labels("pipeline"),
        ((told - every, {}), (told + every, {"fires": told + every - onset})),
        every,
    )


def _drift(metric: str, more: str = "") -> Callable[[Numbers], Trial]:
    def trial(n: Numbers) -> Trial:
        step, onset = max(1, n.hold // 10), 5 * max(1, n.hold // 10)

        def series(case: str, psi: float, chance: float = 0, alias: str = "latest") -> Series:
            where = _LABELS.format(case)
            return {
                f"{metric}{{{where}{more}}}": changed(onset, 0, psi),
                f"drift_threshold_psi{{{where}}}": fixed(chance or psi * UNDER),
                f'model_registry_info{{{where},alias="{alias}"}}': fixed(1),
            }

        cases = {case: series(case, at["psi"]) for case, at in near({"psi": n["psi"]}).items()}
        cases["by_chance"] = series("by_chance", n["psi"] * OVER, n["psi"] * OVER * OVER)
        cases["retired"] = series("retired", n["psi"] * OVER, alias="stable")
        bears = {"pipeline": "credit", **({"feature": "age"} if more else {})}
        return Trial(step, cases, labels("model_version", **bears), fires_after(onset, n, step, n["psi"] * OVER))

    return trial


_EVALUATED = {"trace_id": "model_evaluation_info{pipeline=$pipeline,model_version=$model_version}"}
_SERVING = 'and on (pipeline, model_version)\nmodel_registry_info{alias=~"latest|stable"}'

QUALITY = (
    Alert(
        name="ModelAccuracyBelowObjective",
        group="quality",
        kind="accuracy",
        expr=f"""\
max by (pipeline, model_version) (model_accuracy_upper) < <objective>
and on (pipeline, model_version)
model_labeled_predictions_window >= <least>
{_SERVING}""",
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} is right in at most "
        "{{ $value | humanizePercentage }} of cases",
        description="The upper 95 % bound of its accuracy, by at least <least> labels, is below the objective.",
        unit="ratio",
        objective="<objective>",
        dashboard="quality",
        finds=_EVALUATED,
        trial=_accuracy("objective"),
    ),
    Alert(
        name="ModelAccuracyBelowFloor",
        group="quality",
        kind="accuracy",
        expr=f"""\
max by (pipeline, model_version) (model_accuracy_upper) < <floor>
and on (pipeline, model_version)
model_labeled_predictions_window >= <least>
{_SERVING}""",
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} is right in at most "
        "{{ $value | humanizePercentage }} of cases: too few to be used",
        description="The upper 95 % bound of its accuracy, by at least <least> labels, is below the floor.",
        unit="ratio",
        objective="<floor>",
        dashboard="quality",
        finds=_EVALUATED,
        trial=_accuracy("floor"),
    ),
    Alert(
        name="ModelLabelsStale",
        group="quality",
        kind="accuracy",
        expr="time() - max by (pipeline) (model_last_label_timestamp_seconds) > <age.seconds>",
        summary="No label has come for {{ $labels.pipeline }} for {{ $value | humanizeDuration }}",
        description="Whether its predictions are right is not known any more: the promise of accuracy is blind.",
        unit="seconds",
        objective="<age.seconds>",
        dashboard="quality",
        trial=_labels_stale,
    ),
    Alert(
        name="FeatureDriftHigh",
        group="quality",
        kind="drift",
        expr="""\
max by (pipeline, model_version, feature) (feature_drift_psi) > <psi>
and on (pipeline, model_version, feature)
feature_drift_psi > on (pipeline, model_version) group_left () drift_threshold_psi
and on (pipeline, model_version)
model_registry_info{alias="latest"}""",
        summary="{{ $labels.feature }} of {{ $labels.pipeline }} is not what {{ $labels.model_version }} learnt from",
        description='Population stability index {{ $value | printf "%.3g" }}, more than chance explains.',
        unit="psi",
        objective="<psi>",
        dashboard="quality",
        finds=_EVALUATED,
        trial=_drift("feature_drift_psi", ',feature="age"'),
    ),
    Alert(
        name="PredictionDriftHigh",
        group="quality",
        kind="drift",
        expr="""\
max by (pipeline, model_version) (prediction_drift_psi) > <psi>
and on (pipeline, model_version)
prediction_drift_psi > on (pipeline, model_version) drift_threshold_psi
and on (pipeline, model_version)
model_registry_info{alias="latest"}""",
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} answers otherwise than on its training data",
        description='Population stability index {{ $value | printf "%.3g" }}, more than chance explains.',
        unit="psi",
        objective="<psi>",
        dashboard="quality",
        finds=_EVALUATED,
        trial=_drift("prediction_drift_psi"),
    ),
)
