"""Alerts about prediction quality: accuracy, missing labels, drift."""

from __future__ import annotations

from collections.abc import Callable

from ai_workflow.slo.alert import (  # fmt: skip
    OVER,
    UNDER,
    Alert,
    AlertParameters,
    RuleTest,
    Series,
    boundary_cases,
    case_labels,
    constant,
    fires_after,
    overdue,
    step_change,
    stopped_clock,
)

_LABELS = 'job="exporter",instance="e",pipeline="credit",model_version="{}"'


def _accuracy(limit: str) -> Callable[[AlertParameters], RuleTest]:
    def rule_test(params: AlertParameters) -> RuleTest:
        step, onset = max(1, params.for_seconds // 10), 5 * max(1, params.for_seconds // 10)

        def series(case: str, least: float, alias: str = "latest", **accuracy: float) -> Series:
            where = _LABELS.format(case)
            return {
                f"model_accuracy_upper{{{where}}}": step_change(onset, 1, accuracy[limit]),
                f"model_labeled_predictions_window{{{where}}}": constant(least),
                f'model_registry_info{{{where},alias="{alias}"}}': constant(1),
            }

        limits = boundary_cases({limit: params[limit], "least": params["least"]}, below=(limit,))
        cases = {case: series(case, alias="latest", **at) for case, at in limits.items()}
        cases["retired"] = series("retired", alias="previous", **limits["fires"])
        cases["stable"] = series("stable", alias="stable", **limits[f"no_{limit}"])
        return RuleTest(
            step, cases, case_labels("model_version", pipeline="credit"),
            fires_after(onset, params, step, params[limit] * UNDER),
        )  # fmt: skip

    return rule_test


def _labels_stale(params: AlertParameters) -> RuleTest:
    step = max(1, params.for_seconds // 10)
    onset, fires_at, every = overdue(10 * params.for_seconds, params.seconds("age"), params, step)
    name = 'model_last_label_timestamp_seconds{{job="exporter",pipeline="{}",model_version="v1"}}'
    return RuleTest(
        step,
        {"fires": {name.format("fires"): stopped_clock(onset)}, "fed": {name.format("fed"): stopped_clock(10**8)}},
        case_labels("pipeline"),
        ((fires_at - every, {}), (fires_at + every, {"fires": fires_at + every - onset})),
        every,
    )


def _drift(metric: str, more: str = "") -> Callable[[AlertParameters], RuleTest]:
    def rule_test(params: AlertParameters) -> RuleTest:
        step, onset = max(1, params.for_seconds // 10), 5 * max(1, params.for_seconds // 10)

        def series(case: str, psi: float, chance: float = 0, alias: str = "latest") -> Series:
            where = _LABELS.format(case)
            return {
                f"{metric}{{{where}{more}}}": step_change(onset, 0, psi),
                f"drift_threshold_psi{{{where}}}": constant(chance or psi * UNDER),
                f'model_registry_info{{{where},alias="{alias}"}}': constant(1),
            }

        cases = {case: series(case, at["psi"]) for case, at in boundary_cases({"psi": params["psi"]}).items()}
        cases["by_chance"] = series("by_chance", params["psi"] * OVER, params["psi"] * OVER * OVER)
        cases["retired"] = series("retired", params["psi"] * OVER, alias="stable")
        more_labels = {"pipeline": "credit", **({"feature": "age"} if more else {})}
        return RuleTest(
            step,
            cases,
            case_labels("model_version", **more_labels),
            fires_after(onset, params, step, params["psi"] * OVER),
        )

    return rule_test


_EVALUATED = {"trace_id": "model_evaluation_info{pipeline=$pipeline,model_version=$model_version}"}


def _accuracy_below(limit: str) -> str:
    """Return the condition that the accuracy of a served version is significantly below a limit."""
    return f"""\
max by (pipeline, model_version) (model_accuracy_upper) < {limit}
and on (pipeline, model_version)
model_labeled_predictions_window >= <least>
and on (pipeline, model_version)
model_registry_info{{alias=~"latest|stable"}}"""


QUALITY = (
    Alert(
        name="ModelAccuracyBelowObjective",
        group="quality",
        kind="accuracy",
        expr=_accuracy_below("<objective>"),
        summary="The accuracy of {{ $labels.model_version }} of {{ $labels.pipeline }} is at most "
        "{{ $value | humanizePercentage }}",
        description="The upper 95 % bound of the accuracy, from at least <least> labels, is below the objective.",
        unit="ratio",
        objective="<objective>",
        dashboard="quality",
        lookups=_EVALUATED,
        rule_test=_accuracy("objective"),
    ),
    Alert(
        name="ModelAccuracyBelowFloor",
        group="quality",
        kind="accuracy",
        expr=_accuracy_below("<floor>"),
        summary="The accuracy of {{ $labels.model_version }} of {{ $labels.pipeline }} is at most "
        "{{ $value | humanizePercentage }}, too low to be used",
        description="The upper 95 % bound of the accuracy, from at least <least> labels, is below the floor.",
        unit="ratio",
        objective="<floor>",
        dashboard="quality",
        lookups=_EVALUATED,
        rule_test=_accuracy("floor"),
    ),
    Alert(
        name="ModelLabelsStale",
        group="quality",
        kind="accuracy",
        expr="time() - max by (pipeline) (model_last_label_timestamp_seconds) > <age.seconds>",
        summary="{{ $labels.pipeline }} has received no labels for {{ $value | humanizeDuration }}",
        description="Without labels, the accuracy SLO cannot be measured.",
        unit="seconds",
        objective="<age.seconds>",
        dashboard="quality",
        rule_test=_labels_stale,
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
        summary="{{ $labels.feature }} of {{ $labels.pipeline }} differs from the training data of "
        "{{ $labels.model_version }}",
        description='The population stability index is {{ $value | printf "%.3g" }}, above the significance threshold.',
        unit="psi",
        objective="<psi>",
        dashboard="quality",
        lookups=_EVALUATED,
        rule_test=_drift("feature_drift_psi", ',feature="age"'),
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
        summary="The predictions of {{ $labels.model_version }} of {{ $labels.pipeline }} differ from those on its "
        "training data",
        description='The population stability index is {{ $value | printf "%.3g" }}, above the significance threshold.',
        unit="psi",
        objective="<psi>",
        dashboard="quality",
        lookups=_EVALUATED,
        rule_test=_drift("prediction_drift_psi"),
    ),
)
