"""Prometheus' own configuration: whom it asks, how often, and which rules it evaluates."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.spec import Spec

_NONE: Mapping[str, str] = {}


def config(spec: Spec, tokens: Mapping[str, str] = _NONE) -> dict[str, object]:
    """Return `prometheus.yml` for the targets of the file; `rules/` lies beside it.

    Args:
        spec: the promises.
        tokens: by job, the file with the bearer token that its targets ask for.
    """
    return {
        "global": {"scrape_interval": spec.scrape, "evaluation_interval": spec.evaluation},
        "rule_files": ["rules/*.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(spec.targets.get("alertmanager", ()))}]}]},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}], **_shown(tokens.get(job))}
            for job, addresses in spec.targets.items()
        ],
    }


def _shown(token: str | None) -> dict[str, object]:
    return {"authorization": {"type": "Bearer", "credentials_file": token}} if token else {}
