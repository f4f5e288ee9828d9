"""`python -m ai_workflow.local.manifests`: what `monitoring/slo.yaml` says, as containers and clusters need it.

deploy/generated/                          for compose: targets and places by the names of its services
deploy/kubernetes/monitoring/generated/    for a cluster: the rules as a PrometheusRule
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local.stack.services import SERVICES
from ai_workflow.slo import reader, rules
from ai_workflow.slo.outputs import alertmanager_config, grafana_provisioning, scrape_config
from ai_workflow.slo.outputs.file_text import as_yaml
from ai_workflow.slo.spec import Spec

# The job of a target, and the service of compose.yaml that answers there; Prometheus asks itself.
HOSTS = {service.job: service.name for service in SERVICES if service.job and service.name != "prometheus"}
# Those behind a guard.
WATCHING = tuple(service.job for service in SERVICES if service.requires_login)
# Those who answer only to who has a token, and the file that compose lays it in.
TOKENS = {"inference": "/run/secrets/inference-token"}
# Who wrote a file, in its first line.
_THEIRS, _OURS = "ai-workflow slo build", "python -m ai_workflow.local.manifests"
_RELAY_TOKEN = "/run/secrets/relay-token"  # noqa: S105 - a path
_MONITORING_PASSWORD = "/run/secrets/monitoring-password"  # noqa: S105 - a path
# The ports that people open, and those of the services behind the guards, which other services ask.
_PORTS = {
    str(guard.port): str(service.port) for guard in SERVICES for service in SERVICES if guard.guards == service.name
}


def files(spec: Spec) -> dict[str, str]:
    """Return the text of each file by its path under `deploy/`; the same to the byte for the same promises."""
    found = {f"generated/{name}": held for name, held in _compose(spec).items()}
    found["kubernetes/monitoring/generated/prometheus-rule.yaml"] = _prometheus_rule(spec)
    return {name: as_yaml(held).replace(_THEIRS, _OURS, 1) for name, held in found.items()}


def write(texts: Mapping[str, str], folder: Path) -> None:
    """Write the files."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _compose(spec: Spec) -> dict[str, dict[str, object]]:
    targets = {job: tuple(_at(job, address) for address in found) for job, found in spec.targets.items()}
    places = {
        **spec.places,
        "relay": _relay(spec.places["relay"]),
        "relay_token_file": _RELAY_TOKEN,
        "monitoring_password_file": _MONITORING_PASSWORD,
    }
    here = replace(spec, targets=targets, places=places)
    # Links in alerts are for a browser, and stay as they are; this one is for Grafana, which is a container, too.
    in_compose = replace(spec, places={**places, "prometheus": f"http://prometheus:{_PORTS['9090']}"})
    return {
        "prometheus.yml": scrape_config.config(here, TOKENS),
        "alertmanager.yml": alertmanager_config.config(here),
        "datasource.yaml": grafana_provisioning.files(in_compose)["datasources/prometheus.yaml"],
    }


def _at(job: str, address: str) -> str:
    """Return a target as compose reaches it; targets on other machines are unchanged."""
    host, _, port = address.rpartition(":")
    if host != "localhost":
        return address
    return f"{HOSTS.get(job, host)}:{_PORTS.get(port, port) if job in WATCHING else port}"


def _relay(url: str) -> str:
    return url.replace("//localhost:", f"//{HOSTS['relay']}:")


def _prometheus_rule(spec: Spec) -> dict[str, object]:
    groups = [{"name": name, "rules": held} for name, held in rules.groups(spec).items()]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "ai-workflow"},
        "spec": {"groups": groups},
    }


def main() -> int:
    """Write the files anew; the exit code is 2 if `slo.yaml` is wrong."""
    try:
        texts = files(reader.load())
    except AiWorkflowError as error:
        print(error, file=sys.stderr)
        return 2
    folder = project.path("deploy")
    write(texts, folder)
    print(f"wrote {len(texts)} files to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
