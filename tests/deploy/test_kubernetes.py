"""deploy/kubernetes: what can be proven of it without a cluster."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ai_workflow.slo import build, reader
from tests.deploy import kustomization, native, operator_kinds

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
            jsonschema.Draft202012Validator(operator_kinds.KINDS[each["kind"]]).validate(each)
        else:
            kubernetes_validate.validate(each, version, strict=True)
    except jsonschema.ValidationError as error:
        return f"{title(each)}: {error.json_path}: {error.message}"
    return None


@pytest.mark.integration
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_its_schema_allows(version: str) -> None:
    assert [found for each in OBJECTS if (found := fault(each, version))] == []


@pytest.mark.parametrize("kind", sorted({each["kind"] for each in OBJECTS} - {"ConfigMap", "Namespace"}))
def test_what_a_schema_does_not_allow_is_found(kind: str) -> None:
    spoiled = copy.deepcopy(next(each for each in OBJECTS if each["kind"] == kind))
    spoiled["spec"]["replica"] = 2

    assert "replica" in str(fault(spoiled, VERSIONS[-1]))


def test_what_the_issue_asks_for_is_there() -> None:
    kinds = {each["kind"] for each in OBJECTS}

    assert {
        "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule",
        "ConfigMap", "NetworkPolicy",
    } <= kinds  # fmt: skip


def test_each_part_runs_the_command_of_the_native_stack() -> None:
    # A cluster has a Prometheus and an Alertmanager of its own.
    known = native.commands(with_guards=False)

    assert {name: native.alike(container(name)["args"]) for name in known} == known
    assert not any("command" in each for each in CONTAINERS.values()), "the image's tini would be passed over"


def test_no_secret_is_in_the_manifests_and_each_part_gets_its_own_only() -> None:
    assert "Secret" not in {each["kind"] for each in OBJECTS}
    got = {
        name: {source["secretRef"]["name"] for source in each["envFrom"] if "secretRef" in source}
        for name, each in CONTAINERS.items()
    }
    assert got == SECRETS


def test_the_docs_name_every_secret_that_a_person_has_to_make() -> None:
    text = (kustomization.ROOT / "docs" / "containers.md").read_text()

    assert [name for name in sorted(set().union(*SECRETS.values())) if f"| `{name}`" not in text] == []


def test_every_map_and_volume_that_is_asked_for_is_there() -> None:
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
def test_a_pod_is_as_restricted_as_the_namespace_asks(name: str) -> None:
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


def test_exporter_cannot_write_to_the_store() -> None:
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
def test_probes_ask_what_needs_no_token(name: str, probe: str, path: str) -> None:
    assert container(name)[probe]["httpGet"] == {"path": path, "port": "http"}


def test_a_service_has_time_to_drain_and_another_is_there_before_it_ends() -> None:
    spec = DEPLOYMENTS["service"]["spec"]

    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 30
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("name", sorted(kustomization.of_kind("Service")))
def test_a_service_leads_to_the_port_its_part_listens_on(name: str) -> None:
    service = kustomization.of_kind("Service")[name]
    (port,) = service["spec"]["ports"]
    template = DEPLOYMENTS[name]["spec"]["template"]

    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert container(name)["ports"] == [{"name": port["targetPort"], "containerPort": port["port"]}]
    assert name == "service" or container(name)["args"][-1] == str(port["port"])


@pytest.mark.integration
def test_budget_and_autoscaler_mean_the_service() -> None:
    budget, scaler = (
        kustomization.of_kind(kind)["service"] for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler")
    )
    labels = DEPLOYMENTS["service"]["spec"]["template"]["metadata"]["labels"]

    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "service"}
    (patch,) = kustomization.read(kustomization.TOP)["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": "service"}
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]


def test_the_autoscaler_asks_for_what_the_adapter_makes() -> None:
    (metric,) = kustomization.of_kind("HorizontalPodAutoscaler")["service"]["spec"]["metrics"]
    values = yaml.safe_load((kustomization.TOP / "autoscaling" / "adapter-values.yaml").read_text())
    (rule,) = values["rules"]["custom"]

    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("inference_requests_total{")


def test_monitors_give_the_jobs_of_slo_yaml_and_its_interval() -> None:
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


def test_rules_are_those_of_the_native_stack() -> None:
    groups = {each["name"]: each for each in kustomization.of_kind("PrometheusRule")["ai-workflow"]["spec"]["groups"]}
    natively = {
        path.stem: yaml.safe_load(path.read_text())["groups"][0]
        for path in (build.generated() / "prometheus" / "rules").iterdir()
    }

    assert groups == natively


def test_every_dashboard_is_in_the_map_that_grafana_looks_for() -> None:
    found = kustomization.of_kind("ConfigMap")["ai-workflow-dashboards"]
    folder = build.generated() / "grafana" / "dashboards"

    assert found["data"] == {path.name: path.read_text() for path in folder.iterdir()}
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert sum(len(text.encode()) for text in found["data"].values()) < 250_000, "kubectl apply takes no more"


def test_what_is_yours_begins_as_it_does_in_compose() -> None:
    theirs = kustomization.ROOT / "deploy" / "site" / "site.yaml"

    assert kustomization.of_kind("ConfigMap")["ai-workflow-site"]["data"] == {"site.yaml": theirs.read_text()}


def test_a_worker_starts_after_bootstrap_has_succeeded() -> None:
    (init,) = PODS["worker"]["initContainers"]

    assert init["args"] == ["ai-workflow", "deploy", "--environment", "production"]
    assert PODS["worker"].get("restartPolicy", "Always") == "Always", "a failed bootstrap is not retried"


def test_images_are_named_in_one_place_and_pinned() -> None:
    (image,) = kustomization.read(kustomization.TOP / "base")["images"]

    assert {each["image"] for each in CONTAINERS.values()} == {image["name"]}
    assert image["newTag"] not in {"", "latest"}


def test_only_who_must_reaches_a_part() -> None:
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
