"""Routes and receivers: what goes to whom how soon, and what is not said beside something worse."""

from __future__ import annotations

from ai_workflow.slo import durations
from ai_workflow.slo.spec import SEVERITIES, Spec

# Alerts with these labels in common are about the same SLO; a label that both lack counts as equal.
SAME = ["slo", "job", "pipeline"]
# Some alerts of an SLO name a version: one about another version is another fault.
SAME_VERSION = [*SAME, "model_version"]


def config(spec: Spec) -> dict[str, object]:
    """Return Alertmanager's configuration; every receiver is the relay, which knows the channels."""
    last = SEVERITIES[-1]
    return {
        "route": {
            "receiver": last,
            # A fault of another version must not wait for the interval of a group that was sent: it causes a rollback.
            "group_by": ["alertname", *SAME_VERSION],
            **_times(spec, last),
            "routes": [
                {"matchers": ['alertname="Watchdog"'], "receiver": "heartbeat", **_beat(spec)},
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


def _beat(spec: Spec) -> dict[str, str]:
    """A beat each time Alertmanager looks at a group: were it to be repeated after just as long, each other one."""
    interval = spec.routes["page"].interval
    half = max(1, durations.seconds(interval) // 2)
    return {"group_wait": "0s", "group_interval": interval, "repeat_interval": f"{half}s"}


def _receiver(spec: Spec, name: str) -> dict[str, object]:
    """One webhook for each channel: a channel that is down is retried alone."""
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
        _silences(['severity="page"', 'slo=~".+"'], ['severity=~"ticket|chat"', 'slo=~".+"'], SAME_VERSION),
        # A budget is that of the pipeline, also where the alert that spends it names a version.
        _silences(
            ['severity=~"page|ticket"', 'slo=~".+"', 'alertname!~"ErrorBudget.*"'], ['alertname=~"ErrorBudget.*"'], SAME
        ),
        _silences(['alertname="ErrorBudgetExhausted"'], ['alertname="ErrorBudgetLow"'], SAME),
        # A service that is down is not asked, too, and has no metrics.
        _silences(['alertname="InferenceTargetDown"'], ['alertname=~"InferenceThroughputFloor|SLOMetricAbsent"'], []),
        _silences(['alertname="PipelineStalled"'], ['alertname="PipelineStageStalled"'], ["pipeline"]),
        _silences(['alertname="AlertReachesNoChannel"'], ['alertname="AlertmanagerNotificationsFailing"'], []),
        _silences(['alertname="AlertDeliveryFailing"'], ['alertname="AlertmanagerNotificationsFailing"'], []),
    ]


def _silences(source: list[str], target: list[str], equal: list[str]) -> dict[str, object]:
    return {"source_matchers": source, "target_matchers": target, **({"equal": equal} if equal else {})}
