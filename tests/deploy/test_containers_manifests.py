"""What Prometheus, Alertmanager and Grafana read in containers is what slo.yaml says, by other addresses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_workflow.local import manifests
from ai_workflow.slo import build, reader
from tests.deploy import compose, native_commands
from tests.monitoring import prometheus_tools

HERE = Path(__file__).parents[2] / "deploy"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HERE / name).read_text())
    return found


@pytest.mark.integration
def test_generated_container_files_match_slo_yaml() -> None:
    built = manifests.files(reader.load())
    folders = {(HERE / name).parent for name in built}
    there = {str(path.relative_to(HERE)): path.read_text() for folder in folders for path in folder.iterdir()}

    changed = [name for name in sorted(built.keys() | there.keys()) if built.get(name) != there.get(name)]

    assert changed == [], "run `python -m ai_workflow.local.manifests` and commit what it writes"


@pytest.mark.integration
def test_manifest_generation_is_deterministic(tmp_path: Path) -> None:
    built = manifests.files(reader.load())
    manifests.write(built, tmp_path)

    assert {name: (tmp_path / name).read_text() for name in built} == built


def test_prometheus_targets_match_service_ports() -> None:
    services, commands = compose.read()["services"], native_commands.commands()
    scraped = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in read("generated/prometheus.yml")["scrape_configs"]
    }

    assert set(scraped) == set(reader.load().targets)
    for job in ("exporter", "relay"):
        assert scraped[job] == [f"{job}:{commands[job][-1]}"]
    assert scraped["inference"] == ["service:8080"]
    for (address,) in scraped.values():
        host = address.partition(":")[0]
        assert host in services or address == "localhost:9111"


def test_token_files_match_compose_secrets() -> None:
    services = compose.read()["services"]
    scraped = {job["job_name"]: job for job in read("generated/prometheus.yml")["scrape_configs"]}
    webhooks = [
        hook for each in read("generated/alertmanager.yml")["receivers"] for hook in each.get("webhook_configs", [])
    ]

    name, login = services["prometheus"]["secrets"]
    assert scraped["inference"]["authorization"]["credentials_file"] == f"/run/secrets/{name}"
    for held in (*read("generated/prometheus.yml")["alerting"]["alertmanagers"], scraped["alertmanager"]):
        assert held["basic_auth"] == {"username": "guard", "password_file": f"/run/secrets/{login}"}
        (targets,) = held["static_configs"]
        assert f"--web.listen-address=:{targets['targets'][0].partition(':')[2]}" in services["alertmanager"]["command"]
    assert scraped["prometheus"]["basic_auth"] == scraped["alertmanager"]["basic_auth"]
    assert not [job for job in ("inference", "exporter", "relay") if "basic_auth" in scraped[job]]
    (name,) = services["alertmanager"]["secrets"]
    assert webhooks
    for hook in webhooks:
        assert hook["http_config"]["authorization"]["credentials_file"] == f"/run/secrets/{name}"
        assert hook["url"] == "http://relay:9110/alertmanager"


def test_alertmanager_routes_match_native_stack() -> None:
    natively = yaml.safe_load((build.generated() / "alertmanager" / "alertmanager.yml").read_text())
    ours = read("generated/alertmanager.yml")

    assert {**ours, "receivers": None} == {**natively, "receivers": None}
    assert [each["name"] for each in ours["receivers"]] == [each["name"] for each in natively["receivers"]]


def test_grafana_data_source_points_to_prometheus_with_login() -> None:
    (source,) = read("generated/datasource.yaml")["datasources"]
    (natively,) = yaml.safe_load(
        (build.generated() / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    )["datasources"]

    assert source["url"] == "http://prometheus:9111"
    login = {
        "basicAuth": True, "basicAuthUser": "guard", "secureJsonData": {"basicAuthPassword": "$MONITORING_PASSWORD"},
    }  # fmt: skip
    assert source == {**natively, **login, "url": source["url"]}
    assert "MONITORING_PASSWORD" in compose.read()["services"]["grafana"]["environment"]


@pytest.mark.integration
def test_external_target_address_is_unchanged() -> None:
    spec = reader.load()
    elsewhere = replace(spec, targets={**spec.targets, "inference": ("10.0.0.7:8080", "localhost:8081")})

    made = yaml.safe_load(manifests.files(elsewhere)["generated/prometheus.yml"])

    assert made["scrape_configs"][0]["static_configs"][0]["targets"] == ["10.0.0.7:8080", "service:8081"]


@pytest.mark.integration
def test_promtool_accepts_container_prometheus_config(tmp_path: Path) -> None:
    for rules in prometheus_tools.RULES.glob("*.yaml"):
        (tmp_path / "rules").mkdir(exist_ok=True)
        (tmp_path / "rules" / rules.name).write_bytes(rules.read_bytes())
    (tmp_path / "prometheus.yml").write_bytes((HERE / "generated" / "prometheus.yml").read_bytes())

    found = prometheus_tools.run("promtool", "check", "config", "--syntax-only", tmp_path / "prometheus.yml")

    assert found.returncode == 0, found.stderr


@pytest.mark.integration
def test_amtool_accepts_container_alertmanager_config() -> None:
    found = prometheus_tools.run("amtool", "check-config", HERE / "generated" / "alertmanager.yml")

    assert found.returncode == 0, found.stderr + found.stdout


@pytest.mark.parametrize("name", ["prometheus.yml", "alertmanager.yml", "datasource.yaml"])
def test_generated_files_have_generator_header(name: str) -> None:
    assert (HERE / "generated" / name).read_text().startswith("# Written by `python -m ai_workflow.local.manifests`")
