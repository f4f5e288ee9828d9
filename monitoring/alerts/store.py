"""Alerts about the disk that the model store lies on."""

from __future__ import annotations

from ai_workflow.slo.alert import (  # fmt: skip
    END,
    OVER,
    UNDER,
    Alert,
    Counter,
    Numbers,
    Series,
    Trial,
    changed,
    evaluated,
    fires_after,
    fixed,
    labels,
    near,
)


def _low(n: Numbers) -> Trial:
    step = max(1, n.hold // 10)
    onset = 10 * step
    name = 'model_store_available_bytes{{job="exporter",instance="{}"}}'
    limits = near({"bytes": n["bytes"]}, below=("bytes",))
    return Trial(
        step,
        {case: {name.format(case): changed(onset, 10 * n["bytes"], at["bytes"])} for case, at in limits.items()},
        labels("instance", job="exporter"),
        fires_after(onset, n, step, n["bytes"] * UNDER),
    )


def _fills(n: Numbers) -> Trial:
    """Steady growth fills the disk in just so much time; a burst fills none, but looks so for as long as the window."""
    window, room = n.seconds("window"), 1e9
    step = max(1, n.seconds("window") // 60)
    onset, every = 2 * window, 2 * step
    steady = Counter(((onset, 0), (END, -room / (n.seconds("ahead") + window))), room)
    burst = Counter(((onset, 0), (window / 12, -6 * room / window), (END, 0)), room)
    at = evaluated(onset + window, every) + evaluated(n.hold, every)
    left = room * (1 - (at + every - onset) / (n.seconds("ahead") + window))

    def series(case: str, available: Counter, share: float, left: float = left) -> Series:
        where = f'{{job="exporter",instance="{case}"}}'
        taken = left * (1 - share) / share
        return {f"model_store_available_bytes{where}": available, f"model_store_bytes{where}": fixed(taken)}

    return Trial(
        step,
        {
            "fires": series("fires", steady, n["share"] * UNDER),
            "no_share": series("no_share", steady, n["share"] * OVER),
            "burst": series("burst", burst, n["share"] * UNDER, room / 2),
            "steady": series("steady", Counter(((END, 0),), room), n["share"] * UNDER),
        },
        labels("instance", job="exporter"),
        (
            (onset + 0.7 * window, {"burst": n["share"] * UNDER}),
            (at - every, {}),
            (at + every, {"fires": n["share"] * UNDER}),
        ),
        every,
    )


STORE = (
    Alert(
        name="ModelStoreDiskLow",
        group="pipelines",
        kind="disk",
        expr="model_store_available_bytes < <bytes>",
        summary="The model store has room for {{ $value | humanize1024 }}B only",
        description="Trainings, checkpoints and the prediction log are about to fail for want of room.",
        unit="bytes",
        objective="<bytes>",
        dashboard="pipelines",
        trial=_low,
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
        description="At the pace of the last <window>; {{ $value | humanizePercentage }} of it is free.",
        unit="ratio",
        objective="<share>",
        dashboard="pipelines",
        trial=_fills,
    ),
)
