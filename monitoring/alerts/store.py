"""Alerts about the disk of the model store."""

from __future__ import annotations

from ai_workflow.slo.alert import (  # fmt: skip
    FOREVER,
    OVER,
    UNDER,
    Alert,
    AlertParameters,
    Counter,
    RuleTest,
    Series,
    boundary_cases,
    case_labels,
    constant,
    fires_after,
    next_evaluation,
    step_change,
)


def _low(params: AlertParameters) -> RuleTest:
    step = max(1, params.for_seconds // 10)
    onset = 10 * step
    name = 'model_store_available_bytes{{job="exporter",instance="{}"}}'
    limits = boundary_cases({"bytes": params["bytes"]}, below=("bytes",))
    return RuleTest(
        step,
        {
            case: {name.format(case): step_change(onset, 10 * params["bytes"], at["bytes"])}
            for case, at in limits.items()
        },
        case_labels("instance", job="exporter"),
        fires_after(onset, params, step, params["bytes"] * UNDER),
    )


def _fills(params: AlertParameters) -> RuleTest:
    """Return a test with steady growth that fills the disk, and with a short burst."""
    window, free_bytes = params.seconds("window"), 1e9
    step = max(1, params.seconds("window") // 60)
    onset, every = 2 * window, 2 * step
    steady = Counter(((onset, 0), (FOREVER, -free_bytes / (params.seconds("ahead") + window))), free_bytes)
    burst = Counter(((onset, 0), (window / 12, -6 * free_bytes / window), (FOREVER, 0)), free_bytes)
    at = next_evaluation(onset + window, every) + next_evaluation(params.for_seconds, every)
    left = free_bytes * (1 - (at + every - onset) / (params.seconds("ahead") + window))

    def series(case: str, available: Counter, share: float, left: float = left) -> Series:
        where = f'{{job="exporter",instance="{case}"}}'
        taken = left * (1 - share) / share
        return {f"model_store_available_bytes{where}": available, f"model_store_bytes{where}": constant(taken)}

    return RuleTest(
        step,
        {
            "fires": series("fires", steady, params["share"] * UNDER),
            "no_share": series("no_share", steady, params["share"] * OVER),
            "burst": series("burst", burst, params["share"] * UNDER, free_bytes / 2),
            "steady": series("steady", Counter(((FOREVER, 0),), free_bytes), params["share"] * UNDER),
        },
        case_labels("instance", job="exporter"),
        (
            (onset + 0.7 * window, {"burst": params["share"] * UNDER}),
            (at - every, {}),
            (at + every, {"fires": params["share"] * UNDER}),
        ),
        every,
    )


STORE = (
    Alert(
        name="ModelStoreDiskLow",
        group="pipelines",
        kind="disk",
        expr="model_store_available_bytes < <bytes>",
        summary="The disk of the model store has only {{ $value | humanize1024 }}B of free space",
        description="Trainings, checkpoints and the prediction log will fail when the disk is full.",
        unit="bytes",
        objective="<bytes>",
        dashboard="pipelines",
        rule_test=_low,
    ),
    Alert(
        name="ModelStoreDiskWillFill",
        group="pipelines",
        kind="disk",
        expr="""\
model_store_available_bytes / (model_store_available_bytes + model_store_bytes) < <share>
and
predict_linear(model_store_available_bytes[<window>], <ahead.seconds>) < 0""",
        summary="The disk of the model store will be full within <ahead>",
        description="Extrapolated from the last <window>. {{ $value | humanizePercentage }} of the disk is free.",
        unit="ratio",
        objective="<share>",
        dashboard="pipelines",
        rule_test=_fills,
    ),
)
