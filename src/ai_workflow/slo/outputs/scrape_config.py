"""Prometheus configuration: targets, intervals, rules and Alertmanagers."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo.spec import Spec

# User name for Prometheus and Alertmanager, if they require a login (`ai_workflow.local.login`).
INNER_USER = "guard"
# Jobs whose targets require this login.
_GUARDED = ("prometheus", "alertmanager")
_NONE: Mapping[str, str] = {}


def config(spec: Spec, tokens: Mapping[str, str] = _NONE) -> dict[str, object]:
    """Return `prometheus.yml`, which reads rules from `rules/` in the same folder.

    Args:
        spec: content of the SLO file; `places.monitoring_password_file` has the password.
        tokens: file with the bearer token of the targets, by job.
    """
    login = _login(spec.places["monitoring_password_file"])
    alertmanagers = {"static_configs": [{"targets": list(spec.targets.get("alertmanager", ()))}], **login}
    return {
        "global": {"scrape_interval": spec.scrape, "evaluation_interval": spec.evaluation},
        "rule_files": ["rules/*.yaml"],
        "alerting": {"alertmanagers": [alertmanagers]},
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": list(addresses)}],
                **(login if job in _GUARDED else _bearer(tokens.get(job))),
            }
            for job, addresses in spec.targets.items()
        ],
    }


def _bearer(token: str | None) -> dict[str, object]:
    return {"authorization": {"type": "Bearer", "credentials_file": token}} if token else {}


def _login(password_file: str) -> dict[str, object]:
    return {"basic_auth": {"username": INNER_USER, "password_file": password_file}} if password_file else {}
