"""`python -m ai_workflow.local.manifests`: monitoring of containers and clusters from monitoring/slo.yaml.

deploy/generated/                          for compose: targets and URLs with the names of its services
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

# The service of compose.yaml by the job of a target; Prometheus scrapes itself at localhost.
HOSTS = {service.job: service.name for service in SERVICES if service.job and service.name != "prometheus"}
# Jobs of the services behind a guard.
WATCHING = tuple(service.job for service in SERVICES if service.requires_login)
# Files in which compose puts the bearer tokens, by the job that requires one.
TOKENS = {"inference": "/run/secrets/inference-token"}
# The command in the first line of a generated file, and the one that replaces it.
_SLO_COMMAND = "ai-workflow slo build"
_COMMAND = "python -m ai_workflow.local.manifests"
_RELAY_TOKEN = "/run/secrets/relay-token"  # noqa: S105 - a path
_MONITORING_PASSWORD = "/run/secrets/monitoring-password"  # noqa: S105 - a path
# The ports of the services behind the guards, by the ports of the guards.
_PORTS = {
    str(guard.port): str(service.port) for guard in SERVICES for service in SERVICES if guard.guards == service.name
}


def files(spec: Spec) -> dict[str, str]:
    """Return the text of each file by its path under `deploy/`, identical for identical SLOs."""
    documents = {f"generated/{name}": document for name, document in _compose(spec).items()}
    documents["kubernetes/monitoring/generated/prometheus-rule.yaml"] = _prometheus_rule(spec)
    return {name: as_yaml(document).replace(_SLO_COMMAND, _COMMAND, 1) for name, document in documents.items()}


def write(texts: Mapping[str, str], folder: Path) -> None:
    """Write the files."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _compose(spec: Spec) -> dict[str, dict[str, object]]:
    targets = {job: tuple(_at(job, address) for address in addresses) for job, addresses in spec.targets.items()}
    places = {
        **spec.places,
        "relay": _relay(spec.places["relay"]),
        "relay_token_file": _RELAY_TOKEN,
        "monitoring_password_file": _MONITORING_PASSWORD,
    }
    compose_spec = replace(spec, targets=targets, places=places)
    # Links in alerts are opened by a browser and are unchanged; Grafana queries Prometheus between containers.
    grafana_spec = replace(spec, places={**places, "prometheus": f"http://prometheus:{_PORTS['9090']}"})
    return {
        "prometheus.yml": scrape_config.config(compose_spec, TOKENS),
        "alertmanager.yml": alertmanager_config.config(compose_spec),
        "datasource.yaml": grafana_provisioning.files(grafana_spec)["datasources/prometheus.yaml"],
    }


def _at(job: str, address: str) -> str:
    """Return the address of a target in compose; targets on other machines are unchanged."""
    host, _, port = address.rpartition(":")
    if host != "localhost":
        return address
    return f"{HOSTS.get(job, host)}:{_PORTS.get(port, port) if job in WATCHING else port}"


def _relay(url: str) -> str:
    return url.replace("//localhost:", f"//{HOSTS['relay']}:")


def _prometheus_rule(spec: Spec) -> dict[str, object]:
    groups = [{"name": name, "rules": group} for name, group in rules.groups(spec).items()]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "ai-workflow"},
        "spec": {"groups": groups},
    }


def main() -> int:
    """Write the files; the exit code is 2 if `slo.yaml` is invalid."""
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
