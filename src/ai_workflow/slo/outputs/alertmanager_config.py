"""Alertmanager configuration: routes, receivers and inhibition rules."""

from __future__ import annotations

from ai_workflow.slo import durations
from ai_workflow.slo.spec import SEVERITIES, Spec

# Alerts with equal values are about the same SLO. A label that both lack counts as equal.
SLO_LABELS = ["slo", "job", "pipeline"]
# An alert about another version is another fault.
VERSION_LABELS = [*SLO_LABELS, "model_version"]


def config(spec: Spec) -> dict[str, object]:
    """Return the Alertmanager configuration; every receiver is a webhook of the relay."""
    last = SEVERITIES[-1]
    return {
        "route": {
            "receiver": last,
            # An alert about another version must not wait for the group interval, because it triggers a rollback.
            "group_by": ["alertname", *VERSION_LABELS],
            **_times(spec, last),
            "routes": [
                {"matchers": ['alertname="Watchdog"'], "receiver": "heartbeat", **_heartbeat_times(spec)},
                *(
                    {"matchers": [f'severity="{severity}"'], "receiver": severity, **_times(spec, severity)}
                    for severity in SEVERITIES
                ),
            ],
        },
        "inhibit_rules": _inhibitions(),
        "receivers": [*(_receiver(spec, severity) for severity in SEVERITIES), _heartbeat(spec)],
    }


def _times(spec: Spec, severity: str) -> dict[str, str]:
    route = spec.routes[severity]
    return {"group_wait": route.wait, "group_interval": route.interval, "repeat_interval": route.repeat}


def _heartbeat_times(spec: Spec) -> dict[str, str]:
    """Return times for a notification at every group interval.

    An equal repeat interval would skip every other one.
    """
    interval = spec.routes["page"].interval
    half = max(1, durations.seconds(interval) // 2)
    return {"group_wait": "0s", "group_interval": interval, "repeat_interval": f"{half}s"}


def _receiver(spec: Spec, name: str) -> dict[str, object]:
    """Return a receiver with a webhook for each channel, so that a failed channel is retried alone."""
    base = spec.places["relay"]
    urls = [f"{base}/{channel}" for channel in spec.channels] or [base]
    token = spec.places["relay_token_file"]
    more = {"http_config": {"authorization": {"type": "Bearer", "credentials_file": token}}} if token else {}
    return {"name": name, "webhook_configs": [{"url": url, "send_resolved": True, **more} for url in urls]}


def _heartbeat(spec: Spec) -> dict[str, object]:
    url = spec.places["heartbeat"]
    return {"name": "heartbeat", **({"webhook_configs": [{"url": url, "send_resolved": False}]} if url else {})}


def _inhibitions() -> list[dict[str, object]]:
    return [
        _inhibit(['severity="page"', 'slo=~".+"'], ['severity=~"ticket|chat"', 'slo=~".+"'], VERSION_LABELS),
        # The budget belongs to the pipeline, even if the burn alert names a version.
        _inhibit(
            ['severity=~"page|ticket"', 'slo=~".+"', 'alertname!~"ErrorBudget.*"'],
            ['alertname=~"ErrorBudget.*"'],
            SLO_LABELS,
        ),
        _inhibit(['alertname="ErrorBudgetExhausted"'], ['alertname="ErrorBudgetLow"'], SLO_LABELS),
        # A service that is down receives no requests and exports no metrics.
        _inhibit(['alertname="InferenceTargetDown"'], ['alertname=~"InferenceThroughputFloor|SLOMetricAbsent"'], []),
        _inhibit(['alertname="PipelineStalled"'], ['alertname="PipelineStageStalled"'], ["pipeline"]),
        _inhibit(['alertname="AlertReachesNoChannel"'], ['alertname="AlertmanagerNotificationsFailing"'], []),
        _inhibit(['alertname="AlertDeliveryFailing"'], ['alertname="AlertmanagerNotificationsFailing"'], []),
    ]


def _inhibit(source: list[str], target: list[str], equal: list[str]) -> dict[str, object]:
    return {"source_matchers": source, "target_matchers": target, **({"equal": equal} if equal else {})}
