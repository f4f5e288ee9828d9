"""Prometheus' own configuration: whom it asks, how often, and which rules it evaluates."""

from __future__ import annotations

from monitoring.spec import Spec


def config(spec: Spec) -> dict[str, object]:
    """Return `prometheus.yml` for the targets of the file; `rules/` lies beside it."""
    return {
        "global": {"scrape_interval": spec.scrape, "evaluation_interval": spec.evaluation},
        "rule_files": ["rules/*.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(spec.targets.get("alertmanager", ()))}]}]},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in spec.targets.items()
        ],
    }
