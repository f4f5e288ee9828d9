"""deploy/systemd: what systemd itself says of the units, and that they run what the native stack runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ai_workflow.local import server_environment
from ai_workflow.local.stack.services import SERVICES
from tests.deploy import compose, kustomization, native_commands, unit_files

PARTS = sorted(unit_files.units())
SYSTEM = Path("/usr/lib/systemd/system")
STATE = "/var/lib/ai-workflow"


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    return subprocess.run(["systemd-analyze", *map(str, arguments)], check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a machine has it after the installation: units, programs (empty ones), and systemd's own units."""
    if not SYSTEM.is_dir():
        pytest.skip("no units of systemd: apt-get install systemd")
    found = tmp_path_factory.mktemp("root")
    shutil.copytree(unit_files.FOLDER, found / "etc/systemd/system")
    shutil.copytree(SYSTEM, found / "usr/lib/systemd/system", symlinks=True)
    programs = found / unit_files.PROGRAMS.strip("/")
    programs.mkdir(parents=True)
    for name in ("python", "prefect", "ai-workflow"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return found


def verified(root: Path, unit: str) -> str:
    """Return all that systemd has to say against a unit."""
    found = analyze("verify", f"--root={root}", "--man=no", unit)
    return found.stderr + (f"exit code {found.returncode}" if found.returncode else "")


@pytest.mark.integration
@pytest.mark.parametrize("unit", [*(f"{unit_files.PREFIX}{part}.service" for part in PARTS), "ai-workflow.target"])
def test_systemd_verify_accepts_units(root: Path, unit: str) -> None:
    assert verified(root, unit) == ""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("Restart=always", "Restart=alwais", "Failed to parse service restart specifier"),
        ("PrivateTmp", "PrivatTmp", "Unknown key"),
        ("/prefect worker", "/prefekt worker", "not executable"),
    ],
)
def test_systemd_verify_reports_invalid_unit(root: Path, tmp_path: Path, was: str, becomes: str, said: str) -> None:
    spoiled = tmp_path / "root"
    shutil.copytree(root, spoiled, symlinks=True)
    changed = 0
    for name in ("ai-workflow-worker.service", f"{unit_files.COMMON.parent.name}/{unit_files.COMMON.name}"):
        path = spoiled / "etc/systemd/system" / name
        changed += was in path.read_text()
        path.write_text(path.read_text().replace(was, becomes))

    assert changed == 1
    assert said in verified(spoiled, "ai-workflow-worker.service")


@pytest.mark.integration
@pytest.mark.parametrize("part", PARTS)
def test_systemd_security_score_is_within_threshold(root: Path, part: str) -> None:
    unit = f"{unit_files.PREFIX}{part}.service"

    found = analyze("security", "--offline=true", f"--root={root}", "--no-pager", "--threshold=20", unit)

    assert found.returncode == 0, found.stdout[-300:] + found.stderr


@pytest.mark.integration
def test_unhardened_unit_exceeds_security_threshold(root: Path) -> None:
    found = analyze("security", "--offline=true", f"--root={root}", "--no-pager", "--threshold=20", "rc-local.service")

    assert found.returncode != 0


def test_units_run_commands_of_native_stack() -> None:
    known = native_commands.commands()
    commands = {name: unit_files.values(name, "ExecStart") for name in known}

    assert {
        name: [native_commands.alike(command.split()) for command in found] for name, found in commands.items()
    } == {name: [command] for name, command in known.items()}
    assert all(command.startswith(unit_files.PROGRAMS) for found in commands.values() for command in found)


def test_every_service_has_unit_in_common_target() -> None:
    assert set(PARTS) == {*native_commands.commands(), "bootstrap"}
    for path in unit_files.units().values():
        assert ("PartOf", "ai-workflow.target") in unit_files.section(path, "Unit")
        assert ("WantedBy", "ai-workflow.target") in unit_files.section(path, "Install")


@pytest.mark.parametrize("part", PARTS)
def test_units_run_unprivileged_and_restart(part: str) -> None:
    assert unit_files.values(part, "User") == ["ai-workflow"]
    assert unit_files.values(part, "Restart") == ["on-failure" if part == "bootstrap" else "always"]
    assert ("StartLimitIntervalSec", "0") in unit_files.section(unit_files.units()[part], "Unit")


def test_only_writing_services_can_write_to_store() -> None:
    writing = {part for part in PARTS if unit_files.values(part, "StateDirectory")}

    assert writing == {"server", "worker", "service"}
    assert unit_files.values("relay", "InaccessiblePaths") == [f"-{STATE}"]


def test_model_workers_run_until_service_has_drained() -> None:
    assert unit_files.values("service", "KillMode") == ["mixed"]
    # docs/serving.md: it ends in less than 30 seconds.
    assert int(unit_files.values("service", "TimeoutStopSec")[0]) > 30
    assert unit_files.values("worker", "KillMode") == ["control-group"]


@pytest.mark.parametrize("part", PARTS)
def test_unit_secrets_come_from_environment_files(part: str) -> None:
    assert unit_files.values(part, "EnvironmentFile") == ["-/etc/ai-workflow/common.env", "-/etc/ai-workflow/%N.env"]
    assert not [
        name for name in unit_files.environment(part) if name.endswith(("TOKEN", "PASSWORD", "AUTH_STRING", "KEY"))
    ]


def test_prefect_home_is_writable() -> None:
    homes = {part: unit_files.environment(part).get("PREFECT_HOME") for part in PARTS}

    assert homes["server"] == f"{STATE}/prefect"
    assert {homes[part] for part in ("bootstrap", "worker", "relay")} == {"/tmp/prefect"}


GUARD = {
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": {"http://localhost:4200", "http://127.0.0.1:4200"},
    "PREFECT_SERVER_UI_API_URL": "/api",
}


@pytest.mark.parametrize("name", GUARD)
def test_csrf_and_cors_protection_is_set_in_every_deployment_type(name: str, tmp_path: Path) -> None:
    (container,) = kustomization.of_kind("Deployment")["server"]["spec"]["template"]["spec"]["containers"]
    places = [
        unit_files.environment("server"),
        compose.read()["services"]["server"]["environment"],
        {variable["name"]: variable["value"] for variable in container["env"]},
        server_environment.build(tmp_path, 4200, {}),
        server_environment.guard_settings(4200),
    ]
    for found in places:
        value = found[name]
        assert (set(value.split(",")) if isinstance(GUARD[name], set) else value) == GUARD[name]


@pytest.mark.parametrize("part", ["server", "relay", "exporter"])
def test_allowed_origins_include_internal_service_name(part: str) -> None:
    ports = {"server": 4200, "relay": 9110, "exporter": 9109}
    given = compose.read()["services"][part]["environment"]["AIW_ALLOWED_ORIGINS"]
    (container,) = kustomization.of_kind("Deployment")[part]["spec"]["template"]["spec"]["containers"]
    origins = kustomization.of_kind("ConfigMap")["ai-workflow-origins"]["data"]["AIW_ALLOWED_ORIGINS"]

    assert given.split(",")[0] == f"http://{part}:{ports[part]}"
    assert {"configMapRef": {"name": "ai-workflow-origins"}} in container["envFrom"]
    assert f"http://{part}:{ports[part]}" in origins.split(",")


@pytest.mark.parametrize("switch", ["--web.enable-admin-api", "--web.enable-lifecycle", "remote-write-receiver"])
def test_prometheus_admin_and_write_apis_are_disabled(switch: str) -> None:
    commands = [
        compose.read()["services"]["prometheus"]["command"],
        next(service.command for service in SERVICES if service.name == "prometheus"),
    ]
    for command in commands:
        assert not any(switch in part for part in command)
        assert any(part.startswith("--web.cors.origin=https?://(localhost|") for part in command)


def test_service_account_has_no_login_shell() -> None:
    lines = (unit_files.FOLDER / "ai-workflow.sysusers.conf").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]

    assert line.split()[:2] == ["u", unit_files.values("worker", "User")[0]]
    assert line.endswith("/usr/sbin/nologin")


@pytest.mark.integration
def test_systemd_sysusers_creates_service_account(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("no systemd-sysusers: apt-get install systemd")
    place = tmp_path / "usr/lib/sysusers.d/ai-workflow.conf"
    place.parent.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    place.write_bytes((unit_files.FOLDER / "ai-workflow.sysusers.conf").read_bytes())

    subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True)

    (entry,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("ai-workflow:")]
    assert entry.split(":")[5:] == [STATE, "/usr/sbin/nologin"]
