"""Apprise schemes of incident management, which cannot close the incidents that they open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_INSTEAD = {
    "pagerduty": "pagerduty_configs",
    "opsgenie": "opsgenie_configs",
    "splunk": "victorops_configs",
    "victorops": "victorops_configs",
    "jira": "jira_configs, or webhook_configs with the address of its Prometheus integration",
    "pagertree": "webhook_configs with the address of its Prometheus integration",
    "signl4": "webhook_configs with the address of its Prometheus integration",
    "spike": "webhook_configs with the address of its Alertmanager integration",
}


def schemes(notifier: Any) -> list[str]:
    """Return the schemes of an Apprise plugin, which may differ from the scheme of the URL."""
    schemes: list[str] = []
    for names in (notifier.protocol, notifier.secure_protocol):
        schemes += [names] if isinstance(names, str) else list(names or ())
    return schemes


def refusal(schemes: Iterable[str]) -> str:
    """Return why a URL with one of these schemes is not supported; empty if it is."""
    for scheme in schemes:
        instead = _INSTEAD.get(scheme.lower())
        if instead:
            return (
                f"url {scheme.lower()}:// opens incidents that a resolved alert would not close: Apprise sends no key "
                f"that belongs to the alert. Use a receiver of Alertmanager instead: {instead}"
            )
    return ""
