"""Alerts about the monitoring stack: exporter, relay, Alertmanager, Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo.alert import (
    OVER,
    UNDER,
    Alert,
    AlertParameters,
    Counter,
    RuleTest,
    case_labels,
    constant,
    fires_after,
    step_change,
    stopped_clock,
)


def down(params: AlertParameters, job: str) -> RuleTest:
    """Return a test of `up` in which one of two instances goes down."""
    step = max(1, params.for_seconds // 12)
    onset = 5 * step
    return RuleTest(
        step,
        {
            "fires": {f'up{{job="{job}",instance="fires"}}': step_change(onset, 1, 0)},
            "lives": {f'up{{job="{job}",instance="lives"}}': constant(1)},
        },
        case_labels("instance", job=job),
        fires_after(onset, params, step, 0),
    )


def _stale(params: AlertParameters) -> RuleTest:
    step = max(1, params.for_seconds // 12)
    onset, age = 10 * step, params.seconds("age")
    name = 'exporter_last_collect_timestamp_seconds{{job="exporter",instance="{}"}}'
    late = (onset + age + params.for_seconds + 4 * step) // step * step
    return RuleTest(
        step,
        {"fires": {name.format("fires"): stopped_clock(onset)}, "fresh": {name.format("fresh"): stopped_clock(10**9)}},
        case_labels("instance", job="exporter"),
        (*fires_after(onset + age, params, step, None)[:2], (late, {"fires": late - onset})),
    )


def counted(
    params: AlertParameters, series: str, key: str, more_labels: Mapping[str, str], limit: float = 0, unit: int = 1
) -> RuleTest:
    """Return a test of a failure counter that grows for a limited time.

    The alert resolves when the window has no failures.
    """
    window, step = params.seconds("window"), max(1, min(300, params.seconds("window")) // 20)
    onset, ended = 2 * window, 4 * window + params.for_seconds

    def failing(failures: float) -> Counter:
        return Counter(((onset, 0), (ended - onset, failures / window), (10**9, 0)))

    rate = max(5 * limit, 10)
    begins = onset + window * limit / rate + params.for_seconds
    ends = ended + window * (1 - limit / rate)
    cases = {"fires": rate, "few": limit * UNDER} | ({"enough": limit * OVER} if limit else {})
    expected_values = {case: failures / unit for case, failures in cases.items() if case != "few"}
    return RuleTest(
        step,
        {case: {series.format(case): failing(failures)} for case, failures in cases.items()},
        case_labels(key, **more_labels),
        (
            (begins - 2 * step, {}),
            (begins + 3 * step, {"fires": None}),
            (ended - step, expected_values),
            (ends - 3 * step, {"fires": None}),
            (ends + 2 * step, {}),
        ),
    )


def _always(params: AlertParameters) -> RuleTest:
    return RuleTest(15, {}, lambda _: {}, ((0, {"fires": 1}), (60, {"fires": 1})))


WATCHERS = (
    Alert(
        name="MonitoringTargetDown",
        group="watchers",
        expr='up{job=~"exporter|relay|alertmanager"} == 0',
        summary="{{ $labels.job }} at {{ $labels.instance }} does not respond",
        description="Its metrics or notifications are missing. Alerts that depend on them cannot fire.",
        unit="up",
        objective="1",
        dashboard="overview",
        rule_test=lambda params: down(params, "exporter"),
    ),
    Alert(
        name="ExporterStale",
        group="watchers",
        expr="time() - exporter_last_collect_timestamp_seconds > <age.seconds>",
        summary="The last collection of the exporter was {{ $value | humanizeDuration }} ago",
        description="The exporter responds, but its metrics of pipelines and models are outdated.",
        unit="seconds",
        objective="<age.seconds>",
        dashboard="pipelines",
        rule_test=_stale,
    ),
    Alert(
        name="ExporterSourceFailing",
        group="watchers",
        expr="sum by (job, source) (increase(exporter_source_failures_total[<window>])) > 0",
        summary="The exporter cannot read {{ $labels.source }}",
        description="The metrics of this source are missing or outdated. The log of the exporter has the reason.",
        unit="failures",
        objective="0",
        dashboard="pipelines",
        rule_test=lambda params: counted(
            params, 'exporter_source_failures_total{{job="exporter",source="{}"}}', "source", {"job": "exporter"}
        ),
    ),
    Alert(
        name="AlertDeliveryFailing",
        group="watchers",
        expr='sum by (channel) (increase(alert_delivery_total{result=~"failed|refused"}[<window>])) > <failures>',
        summary="Alerts do not reach {{ $labels.channel }}",
        description="More than <failures> deliveries failed within <window>. The log of the relay has the reason.",
        unit="failures",
        objective="<failures>",
        dashboard="overview",
        rule_test=lambda params: counted(
            params,
            'alert_delivery_total{{job="relay",result="refused",channel="{}"}}',
            "channel",
            {},
            params["failures"],
        ),
    ),
    Alert(
        name="AlertReachesNoChannel",
        group="watchers",
        expr='sum by (source) (increase(alert_webhook_total{result="no_channel"}[<window>])) > 0',
        summary="Alerts from {{ $labels.source }} reach no chat channel",
        description="No channel of `chat` accepts their severity, so only Prometheus and Alertmanager show them.",
        unit="webhooks",
        objective="0",
        dashboard="overview",
        rule_test=lambda params: counted(
            params, 'alert_webhook_total{{job="relay",result="no_channel",source="{}"}}', "source", {}
        ),
    ),
    Alert(
        name="AlertmanagerNotificationsFailing",
        group="watchers",
        expr="sum by (job, integration) (rate(alertmanager_notifications_failed_total[<window>])) > 0",
        summary="Alertmanager cannot deliver notifications by {{ $labels.integration }}",
        description="The relay does not respond, or responds that no channel received the message.",
        unit="per second",
        objective="0",
        dashboard="overview",
        rule_test=lambda params: counted(
            params,
            'alertmanager_notifications_failed_total{{job="alertmanager",integration="{}"}}',
            "integration",
            {"job": "alertmanager"},
            unit=params.seconds("window"),
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
        rule_test=lambda params: counted(
            params,
            'prometheus_rule_evaluation_failures_total{{job="prometheus",rule_group="{}"}}',
            "rule_group",
            {"job": "prometheus"},
        ),
    ),
    Alert(
        name="Watchdog",
        group="watchers",
        expr="vector(1)",
        summary="Watchdog: this alert always fires",
        description="If it does not arrive, Prometheus, Alertmanager or the delivery is broken.",
        unit="",
        objective="1",
        dashboard="overview",
        rule_test=_always,
    ),
)
