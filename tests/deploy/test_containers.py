"""deploy/compose.yaml: what can be proven of it without a container runtime."""

from __future__ import annotations

import copy
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt
import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from ai_workflow.slo import reader
from tests.deploy import compose, native_commands

ROOT = Path(__file__).parents[2]
GUARDS = ("prometheus-guard", "alertmanager-guard")
OURS = ("server", "bootstrap", "worker", "service", "exporter", "relay", "bucket", "login", *GUARDS)
WATCHING = ("prometheus", "alertmanager", "grafana")
OTHERS = ("database", "minio", *WATCHING)
# Whoever is not named here beside a secret does not get it.
SECRETS = {
    "POSTGRES_PASSWORD": {"database", "server"},
    "PREFECT_LOGIN": {"server", "bootstrap", "worker", "exporter", "relay"},
    "PREFECT_ENCRYPTION_KEY": {"server"},
    "INFERENCE_TOKEN": {"service", "prometheus"},
    "INFERENCE_LABEL_TOKEN": {"service"},
    "INFERENCE_ADMIN_TOKEN": {"service"},
    "RELAY_TOKEN": {"bootstrap", "relay", "alertmanager"},
    "MONITORING_PASSWORD": {"login", "prometheus", "grafana"},
    "GRAFANA_PASSWORD": {"grafana"},
    "DATABASE_PASSWORD": {"worker"},
    "ON_CALL_URL": {"relay"},
    "ON_CALL_SECRET": {"relay"},
    "AWS_SECRET_ACCESS_KEY": {"bootstrap", "worker", "service", "exporter", "minio", "bucket"},
}
FILLED = {name: f"canary-{name.lower()}" for name in compose.required() | set(SECRETS)}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose.filled(FILLED)["services"]
    return found


def faults(document: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec"))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_compose_file_matches_specification() -> None:
    assert faults(compose.read()) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("relay", "comand", []), ("worker", "restart", 3), ("server", "healthcheck", {"test": 1})],
)
def test_compose_specification_violation_is_reported(service: str, key: str, value: object) -> None:
    spoiled = copy.deepcopy(compose.read())
    spoiled["services"][service][key] = value

    assert any(f"$.services.{service}" in fault and (key in fault or str(value) in fault) for fault in faults(spoiled))


def test_compose_services_run_commands_of_native_stack(services: dict[str, Any]) -> None:
    known = native_commands.commands()

    assert {name: native_commands.alike(services[name]["command"]) for name in known} == known


def test_compose_file_has_all_services(services: dict[str, Any]) -> None:
    assert set(services) == {*OURS, *OTHERS}


def test_env_example_lists_every_variable_and_marks_required() -> None:
    named = compose.example()

    assert set(named) == compose.used()
    assert {name for name, must in named.items() if must} == compose.required()


@pytest.mark.parametrize("name", sorted(compose.required()))
def test_compose_requires_mandatory_variables(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        compose.filled({other: value for other, value in FILLED.items() if other != name})


@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_secrets_reach_only_services_requiring_access(name: str, services: dict[str, Any]) -> None:
    files = {file for file, held in compose.read()["secrets"].items() if held["environment"] == name}
    reached = {
        service
        for service, held in services.items()
        if FILLED[name] in str(held) or files & set(held.get("secrets", []))
    }

    assert reached == SECRETS[name]


def test_compose_file_contains_no_secret() -> None:
    assert set(compose.read()["secrets"]) == {"inference-token", "relay-token", "monitoring-password"}
    for held in compose.read()["secrets"].values():
        assert list(held) == ["environment"]


@pytest.mark.parametrize("name", OURS)
def test_project_containers_have_read_only_root_filesystem(name: str, services: dict[str, Any]) -> None:
    held = services[name]

    assert held["read_only"] is True
    assert held["cap_drop"] == ["ALL"]
    assert held["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in held, "the image says who it runs as"
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(held)
    assert {volume.split(":")[1] for volume in held["volumes"] if not volume.endswith(":ro")} <= {
        "/var/lib/ai-workflow"
    }


@pytest.mark.parametrize("name", OTHERS)
def test_third_party_containers_have_minimal_privileges(name: str, services: dict[str, Any]) -> None:
    held = services[name]

    assert held["read_only"] is True
    assert held["cap_drop"] == ["ALL"]
    assert ("cap_add" in held) == (name == "database")


def test_all_images_have_pinned_tags(services: dict[str, Any]) -> None:
    for name, held in services.items():
        image, _, tag = held["image"].rpartition(":")
        assert image, f"{name}: {held['image']} has no tag"
        assert tag not in {"latest", "main", "stable"}, name
    assert not services["minio"]["image"].startswith("minio/"), "Docker Hub has it no more"


def test_published_ports_are_bound_to_loopback(services: dict[str, Any]) -> None:
    published = [port for held in services.values() for port in held.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_monitoring_servers_are_reachable_only_through_guard(name: str, services: dict[str, Any]) -> None:
    held, guard = services[name], services[f"{name}-guard"]
    (listen,) = [part for part in held["command"] if part.startswith("--web.listen-address=")]
    (file,) = [part for part in held["command"] if part.startswith("--web.config.file=")]

    assert "ports" not in held
    assert guard["command"][-1] == f"http://{name}:{listen.rpartition(':')[2]}"
    assert "login:/etc/login:ro" in held["volumes"]
    assert file.endswith("=/etc/login/web.yml")
    assert held["depends_on"] == {"login": {"condition": "service_completed_successfully"}}


@pytest.mark.integration
def test_login_file_is_kept_if_password_is_missing(services: dict[str, Any], tmp_path: Path) -> None:
    """Without a password the file stays as it is: an empty one would require no login."""
    held = services["login"]
    shell, option, script = held["command"]
    assert held["volumes"] == ["login:/var/lib/ai-workflow"]
    here = script.replace("/var/lib/ai-workflow", shlex.quote(str(tmp_path)))
    given = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
    }

    for password, code in (("first-0815", 0), ("", 1)):
        done = subprocess.run([shell, option, here], env={**given, "MONITORING_PASSWORD": password}, check=False)
        assert done.returncode == code
        (hashed,) = yaml.safe_load((tmp_path / "web.yml").read_text())["basic_auth_users"].values()
        assert bcrypt.checkpw(b"first-0815", hashed.encode())


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0] for held in services.values() for volume in held.get("volumes", []) if volume[0] in "./"
    ]

    assert len(mounted) > 5
    assert [name for name in mounted if not (compose.DEPLOY / name).exists()] == []


def test_named_volumes_match_used_volumes(services: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for held in services.values()
        for volume in held.get("volumes", [])
        if volume[0] not in "./"
    }

    assert used == set(compose.read()["volumes"])


def test_service_dependencies_have_health_check_or_exit(services: dict[str, Any]) -> None:
    for held in services.values():
        for name, how in held.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[name]["healthcheck"]["test"], name
            else:
                assert services[name]["restart"].startswith("on-failure"), f"{name} would never be over"


def test_health_checks_use_listening_port(services: dict[str, Any]) -> None:
    asked = {
        name: held["healthcheck"]["test"][-1]
        for name, held in services.items()
        if "ai_workflow.local.health" in held.get("healthcheck", {}).get("test", [])
    }

    assert asked == {
        "server": "http://127.0.0.1:4200/api/health",
        "service": "http://127.0.0.1:8080/v2/health/live",
        "exporter": "http://127.0.0.1:9109/metrics",
        "relay": "http://127.0.0.1:9110/health",
        "prometheus-guard": "http://127.0.0.1:9090/-/guard",
        "alertmanager-guard": "http://127.0.0.1:9093/-/guard",
    }
    for name in ("server", "exporter", "relay", *GUARDS):
        command = services[name]["command"]
        assert command[command.index("--port") + 1] in asked[name]


def test_stop_grace_period_exceeds_drain_time(services: dict[str, Any]) -> None:
    # docs/serving.md: the service ends in less than 30 seconds.
    assert int(services["service"]["stop_grace_period"].removesuffix("s")) > 30


def test_slo_yaml_jobs_are_compose_services(services: dict[str, Any]) -> None:
    jobs = set(reader.load().targets)

    assert jobs - {"inference"} <= set(services)
