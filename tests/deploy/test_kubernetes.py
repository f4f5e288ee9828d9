"""deploy/kubernetes: what can be proven of it without a cluster."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ai_workflow.slo import build, reader
from tests.deploy import kustomization, native_commands, operator_schemas

# The oldest that knows all that is used (unhealthyPodEvictionPolicy), one in between, the newest with a schema.
VERSIONS = ("1.26", "1.31", "1.37")
OBJECTS = list(kustomization.objects())
DEPLOYMENTS = kustomization.of_kind("Deployment")
PODS = {name: each["spec"]["template"]["spec"] for name, each in DEPLOYMENTS.items()}
# Every container by its name; init containers run before the container of their pod.
CONTAINERS = {
    each["name"]: each for pod in PODS.values() for each in [*pod.get("initContainers", ()), *pod["containers"]]
}
# The secrets that a person makes beforehand, and who gets which; docs/containers.md lists them.
SECRETS = {
    "server": {"ai-workflow-server"},
    "bootstrap": {"ai-workflow-prefect-login", "ai-workflow-relay"},
    "worker": {"ai-workflow-prefect-login", "ai-workflow-sources"},
    "service": {"ai-workflow-service"},
    "exporter": {"ai-workflow-prefect-login"},
    "relay": {"ai-workflow-prefect-login", "ai-workflow-relay", "ai-workflow-chat"},
}


def title(each: dict[str, Any]) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


def container(name: str) -> dict[str, Any]:
    found = CONTAINERS[name]
    assert isinstance(found, dict)
    return found


def fault(each: dict[str, Any], version: str) -> str | None:
    """Return what the schema of Kubernetes, or of the operator, has against an object; unknown fields count."""
    try:
        if each["apiVersion"].startswith("monitoring.coreos.com/"):
            jsonschema.Draft202012Validator(operator_schemas.KINDS[each["kind"]]).validate(each)
        else:
            kubernetes_validate.validate(each, version, strict=True)
    except jsonschema.ValidationError as error:
        return f"{title(each)}: {error.json_path}: {error.message}"
    return None


@pytest.mark.integration
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_match_kubernetes_schema(version: str) -> None:
    assert [found for each in OBJECTS if (found := fault(each, version))] == []


@pytest.mark.parametrize("kind", sorted({each["kind"] for each in OBJECTS} - {"ConfigMap", "Namespace"}))
def test_schema_violation_in_manifest_is_reported(kind: str) -> None:
    spoiled = copy.deepcopy(next(each for each in OBJECTS if each["kind"] == kind))
    spoiled["spec"]["replica"] = 2

    assert "replica" in str(fault(spoiled, VERSIONS[-1]))


def test_required_kubernetes_kinds_are_present() -> None:
    kinds = {each["kind"] for each in OBJECTS}

    assert {
        "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule",
        "ConfigMap", "NetworkPolicy",
    } <= kinds  # fmt: skip


def test_containers_run_commands_of_native_stack() -> None:
    # A cluster has a Prometheus and an Alertmanager of its own.
    known = native_commands.commands(with_guards=False)

    assert {name: native_commands.alike(container(name)["args"]) for name in known} == known
    assert not any("command" in each for each in CONTAINERS.values()), "the image's tini would be passed over"


def test_manifests_hold_no_secrets_and_reference_only_needed_secrets() -> None:
    assert "Secret" not in {each["kind"] for each in OBJECTS}
    got = {
        name: {source["secretRef"]["name"] for source in each["envFrom"] if "secretRef" in source}
        for name, each in CONTAINERS.items()
    }
    assert got == SECRETS


def test_docs_list_every_required_secret() -> None:
    text = (kustomization.ROOT / "docs" / "containers.md").read_text()

    assert [name for name in sorted(set().union(*SECRETS.values())) if f"| `{name}`" not in text] == []


def test_referenced_config_maps_and_volumes_exist() -> None:
    maps, claims = kustomization.of_kind("ConfigMap"), kustomization.of_kind("PersistentVolumeClaim")
    for name, pod in PODS.items():
        containers = [*pod.get("initContainers", ()), *pod["containers"]]
        sources = [source for each in containers for source in each["envFrom"]]
        asked = {each["configMapRef"]["name"] for each in sources if "configMapRef" in each}
        asked |= {each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each}
        assert asked <= set(maps), name
        assert {
            each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each
        } <= set(claims)
        mounts = {mount["name"] for each in containers for mount in each["volumeMounts"]}
        assert mounts == {each["name"] for each in pod["volumes"]}


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_meet_restricted_security_standard(name: str) -> None:
    pod = PODS[name]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in [*pod.get("initContainers", ()), *pod["containers"]]:
        one = each["securityContext"]
        assert (one["allowPrivilegeEscalation"], one["readOnlyRootFilesystem"]) == (False, True)
        assert one["capabilities"] == {"drop": ["ALL"]}
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    (namespace,) = kustomization.of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_exporter_mounts_store_read_only() -> None:
    (store,) = [each for each in container("exporter")["volumeMounts"] if each["name"] == "store"]

    assert store["readOnly"] is True
    assert "store" not in {each["name"] for each in container("relay")["volumeMounts"]}


@pytest.mark.parametrize(
    ("name", "probe", "path"),
    [
        ("service", "livenessProbe", "/v2/health/live"),
        ("service", "readinessProbe", "/v2/health/ready"),
        ("service", "startupProbe", "/v2/health/live"),
        ("server", "readinessProbe", "/api/health"),
        ("exporter", "readinessProbe", "/metrics"),
        ("relay", "readinessProbe", "/health"),
    ],
)
def test_probes_use_endpoints_without_token(name: str, probe: str, path: str) -> None:
    assert container(name)[probe]["httpGet"] == {"path": path, "port": "http"}


def test_service_rolling_update_drains_without_downtime() -> None:
    spec = DEPLOYMENTS["service"]["spec"]

    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 30
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("name", sorted(kustomization.of_kind("Service")))
def test_service_port_matches_container_port(name: str) -> None:
    service = kustomization.of_kind("Service")[name]
    (port,) = service["spec"]["ports"]
    template = DEPLOYMENTS[name]["spec"]["template"]

    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert container(name)["ports"] == [{"name": port["targetPort"], "containerPort": port["port"]}]
    assert name == "service" or container(name)["args"][-1] == str(port["port"])


@pytest.mark.integration
def test_disruption_budget_and_autoscaler_target_service() -> None:
    budget, scaler = (
        kustomization.of_kind(kind)["service"] for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler")
    )
    labels = DEPLOYMENTS["service"]["spec"]["template"]["metadata"]["labels"]

    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "service"}
    (patch,) = kustomization.read(kustomization.TOP)["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": "service"}
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]


def test_autoscaler_metric_is_provided_by_adapter() -> None:
    (metric,) = kustomization.of_kind("HorizontalPodAutoscaler")["service"]["spec"]["metrics"]
    values = yaml.safe_load((kustomization.TOP / "autoscaling" / "adapter-values.yaml").read_text())
    (rule,) = values["rules"]["custom"]

    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("inference_requests_total{")


def test_service_monitors_use_jobs_and_interval_of_slo_yaml() -> None:
    spec, services = reader.load(), kustomization.of_kind("Service")
    for name, monitor in kustomization.of_kind("ServiceMonitor").items():
        (endpoint,) = monitor["spec"]["endpoints"]
        wanted = monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        (service,) = [
            each for each in services.values() if each["metadata"]["labels"][monitor["spec"]["jobLabel"]] == wanted
        ]
        assert name == wanted
        assert wanted in spec.targets
        assert endpoint["interval"] == spec.scrape
        assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    token = kustomization.of_kind("ServiceMonitor")["inference"]["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert token == {"name": "ai-workflow-service", "key": "INFERENCE_TOKEN"}


@pytest.mark.integration
def test_prometheus_rules_match_native_stack() -> None:
    groups = {each["name"]: each for each in kustomization.of_kind("PrometheusRule")["ai-workflow"]["spec"]["groups"]}
    natively = {
        path.stem: yaml.safe_load(path.read_text())["groups"][0]
        for path in (build.generated() / "prometheus" / "rules").iterdir()
    }

    assert groups == natively


def test_dashboard_config_map_contains_every_dashboard() -> None:
    found = kustomization.of_kind("ConfigMap")["ai-workflow-dashboards"]
    folder = build.generated() / "grafana" / "dashboards"

    assert found["data"] == {path.name: path.read_text() for path in folder.iterdir()}
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert sum(len(text.encode()) for text in found["data"].values()) < 250_000, "kubectl apply takes no more"


def test_default_site_config_matches_compose() -> None:
    theirs = kustomization.ROOT / "deploy" / "site" / "site.yaml"

    assert kustomization.of_kind("ConfigMap")["ai-workflow-site"]["data"] == {"site.yaml": theirs.read_text()}


def test_worker_starts_after_successful_bootstrap() -> None:
    (init,) = PODS["worker"]["initContainers"]

    assert init["args"] == ["ai-workflow", "deploy", "--environment", "production"]
    assert PODS["worker"].get("restartPolicy", "Always") == "Always", "a failed bootstrap is not retried"


def test_image_is_pinned_and_set_once() -> None:
    (image,) = kustomization.read(kustomization.TOP / "base")["images"]

    assert {each["image"] for each in CONTAINERS.values()} == {image["name"]}
    assert image["newTag"] not in {"", "latest"}


def test_network_policies_allow_only_required_ingress() -> None:
    policies = kustomization.of_kind("NetworkPolicy")

    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    components = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each["spec"]["ingress"][0]
        for name, each in policies.items() if name != "default-deny"
    }  # fmt: skip
    assert set(components) == {"server", "inference", "exporter", "relay"}
    for name, service in kustomization.of_kind("Service").items():
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        assert components[component]["ports"] == [{"port": service["spec"]["ports"][0]["port"]}], name
    assert [component for component, rule in components.items() if "from" not in rule] == ["inference"]
