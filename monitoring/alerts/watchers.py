"""Alerts about what watches: the exporter, the relay, Alertmanager, Prometheus itself."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo.alert import (
    OVER,
    UNDER,
    Alert,
    Counter,
    Numbers,
    Trial,
    changed,
    fires_after,
    fixed,
    labels,
    stopped,
)


def down(n: Numbers, job: str) -> Trial:
    """Return a trial of `up` in which one instance goes, and one stays."""
    step = max(1, n.hold // 12)
    onset = 5 * step
    return Trial(
        step,
        {
            "fires": {f'up{{job="{job}",instance="fires"}}': changed(onset, 1, 0)},
            "lives": {f'up{{job="{job}",instance="lives"}}': fixed(1)},
        },
        labels("instance", job=job),
        fires_after(onset, n, step, 0),
    )


def _stale(n: Numbers) -> Trial:
    step = max(1, n.hold // 12)
    onset, age = 10 * step, n.seconds("age")
    name = 'exporter_last_collect_timestamp_seconds{{job="exporter",instance="{}"}}'
    late = (onset + age + n.hold + 4 * step) // step * step
    return Trial(
        step,
        {"fires": {name.format("fires"): stopped(onset)}, "fresh": {name.format("fresh"): stopped(10**9)}},
        labels("instance", job="exporter"),
        (*fires_after(onset + age, n, step, None)[:2], (late, {"fires": late - onset})),
    )


def counted(n: Numbers, series: str, key: str, bears: Mapping[str, str], limit: float = 0, unit: int = 1) -> Trial:
    """Return a trial of a counter of failures that begin, last, and end.

    The alert ends when no failure is left in the window.
    """
    window, step = n.seconds("window"), max(1, min(300, n.seconds("window")) // 20)
    onset, ended = 2 * window, 4 * window + n.hold

    def failing(failures: float) -> Counter:
        return Counter(((onset, 0), (ended - onset, failures / window), (10**9, 0)))

    rate = max(5 * limit, 10)
    begins = onset + window * limit / rate + n.hold
    ends = ended + window * (1 - limit / rate)
    cases = {"fires": rate, "few": limit * UNDER} | ({"enough": limit * OVER} if limit else {})
    told = {case: failures / unit for case, failures in cases.items() if case != "few"}
    return Trial(
        step,
        {case: {series.format(case): failing(failures)} for case, failures in cases.items()},
        labels(key, **bears),
        (
            (begins - 2 * step, {}),
            (begins + 3 * step, {"fires": None}),
            (ended - step, told),
            (ends - 3 * step, {"fires": None}),
            (ends + 2 * step, {}),
        ),
    )


def _always(n: Numbers) -> Trial:
    return Trial(15, {}, lambda _: {}, ((0, {"fires": 1}), (60, {"fires": 1})))


WATCHERS = (
    Alert(
        name="MonitoringTargetDown",
        group="watchers",
        expr='up{job=~"exporter|relay|alertmanager"} == 0',
        summary="{{ $labels.job }} at {{ $labels.instance }} does not answer",
        description="What it measures or delivers is missing; alerts that stand on it cannot fire.",
        unit="up",
        objective="1",
        dashboard="overview",
        trial=lambda n: down(n, "exporter"),
    ),
    Alert(
        name="ExporterStale",
        group="watchers",
        expr="time() - exporter_last_collect_timestamp_seconds > <age.seconds>",
        summary="The exporter has looked at the store {{ $value | humanizeDuration }} ago for the last time",
        description="It answers, but what it says of pipelines and models is old.",
        unit="seconds",
        objective="<age.seconds>",
        dashboard="pipelines",
        trial=_stale,
    ),
    Alert(
        name="ExporterSourceFailing",
        group="watchers",
        expr="sum by (job, source) (increase(exporter_source_failures_total[<window>])) > 0",
        summary="The exporter cannot read {{ $labels.source }}",
        description="What it says of it is missing or old; its log has the reason.",
        unit="failures",
        objective="0",
        dashboard="pipelines",
        trial=lambda n: counted(
            n, 'exporter_source_failures_total{{job="exporter",source="{}"}}', "source", {"job": "exporter"}
        ),
    ),
    Alert(
        name="AlertDeliveryFailing",
        group="watchers",
        expr='sum by (channel) (increase(alert_delivery_total{result=~"failed|refused"}[<window>])) > <failures>',
        summary="Alerts do not reach {{ $labels.channel }}",
        description="More than <failures> deliveries failed within <window>; the relay's log has the reason.",
        unit="failures",
        objective="<failures>",
        dashboard="overview",
        trial=lambda n: counted(
            n, 'alert_delivery_total{{job="relay",result="refused",channel="{}"}}', "channel", {}, n["failures"]
        ),
    ),
    Alert(
        name="AlertReachesNoChannel",
        group="watchers",
        expr='sum by (source) (increase(alert_webhook_total{result="no_channel"}[<window>])) > 0',
        summary="Alerts from {{ $labels.source }} reach no chat channel",
        description="No channel of `chat` takes their severity, so only Prometheus and Alertmanager show them.",
        unit="webhooks",
        objective="0",
        dashboard="overview",
        trial=lambda n: counted(n, 'alert_webhook_total{{job="relay",result="no_channel",source="{}"}}', "source", {}),
    ),
    Alert(
        name="AlertmanagerNotificationsFailing",
        group="watchers",
        expr="sum by (job, integration) (rate(alertmanager_notifications_failed_total[<window>])) > 0",
        summary="Alertmanager cannot deliver by {{ $labels.integration }}",
        description="The relay does not answer, or answers that no channel took the message.",
        unit="per second",
        objective="0",
        dashboard="overview",
        trial=lambda n: counted(
            n,
            'alertmanager_notifications_failed_total{{job="alertmanager",integration="{}"}}',
            "integration",
            {"job": "alertmanager"},
            unit=n.seconds("window"),
        ),
    ),
    Alert(
        name="RuleEvaluationFailing",
        group="watchers",
        expr="sum by (job, rule_group) (increase(prometheus_rule_evaluation_failures_total[<window>])) > 0",
        summary="Prometheus cannot evaluate the rules of {{ $labels.rule_group }}",
        description="The alerts of that group cannot fire.",
        unit="failures",
        objective="0",
        dashboard="overview",
        trial=lambda n: counted(
            n,
            'prometheus_rule_evaluation_failures_total{{job="prometheus",rule_group="{}"}}',
            "rule_group",
            {"job": "prometheus"},
        ),
    ),
    Alert(
        name="Watchdog",
        group="watchers",
        expr="vector(1)",
        summary="Alerts are on their way: this one always fires",
        description="Where it is not heard, Prometheus, Alertmanager or the way from them is broken.",
        unit="",
        objective="1",
        dashboard="overview",
        trial=_always,
    ),
)
