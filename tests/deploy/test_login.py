"""The login of Prometheus and Alertmanager: which passwords are accepted, where it is kept, what they make of it."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest
import yaml

from ai_workflow.local import login
from ai_workflow.local.stack import monitoring_config
from ai_workflow.local.stack.paths import StackOptions, StackPaths
from tests.deploy.running_stack import ROOT
from tests.monitoring import prometheus_tools


def basic(pair: str) -> bytes:
    return b"Basic " + b64encode(pair.encode())


@pytest.mark.parametrize("password", ["x", "a b", "p:w:", "$HOME", "#!'\"\\", "x" * 72])
def test_valid_monitoring_password_is_accepted(password: str) -> None:
    assert login.check(password) == password


@pytest.mark.parametrize("password", ["", "x" * 73, "two\nlines", "tab\t", "pässword", " x", "x ", "\x7f", "\x00"])
def test_unsupported_monitoring_password_is_rejected(password: str) -> None:
    with pytest.raises(login.PasswordError, match=r"^MONITORING_PASSWORD: .+\. Make one with `openssl rand -hex 24`$"):
        login.check(password)


@pytest.mark.integration
def test_web_config_holds_password_hash_of_single_user(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(login.web_config("sesame-0815"))

    users = yaml.safe_load((tmp_path / "web.yml").read_text())["basic_auth_users"]
    assert list(users) == ["guard"]
    assert bcrypt.checkpw(b"sesame-0815", users["guard"].encode())
    assert not bcrypt.checkpw(b"sesame-0816", users["guard"].encode())
    checked = prometheus_tools.run("promtool", "check", "web-config", tmp_path / "web.yml")
    assert checked.returncode == 0, checked.stderr


def test_operator_login_is_mapped_to_guard_login() -> None:
    assert login.inner(basic("operator:p:w")) == basic("guard:p:w")
    assert login.inner(b"basic  " + basic("operator:pw")[6:]) == basic("guard:pw")


@pytest.mark.parametrize(
    "header",
    [
        basic("guard:pw"),
        basic("other:pw"),
        basic("operator"),
        b"Bearer operator:pw",
        b"Basic !",
        b"Basic",
        b"",
        b"\xff",
    ],
)
def test_other_authorization_header_is_unchanged(header: bytes) -> None:
    assert login.inner(header) == header


@pytest.mark.integration
def test_login_command_without_password_fails() -> None:
    given = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    given.pop("MONITORING_PASSWORD", None)
    done = subprocess.run(
        [sys.executable, "-m", "ai_workflow.local.login"], env=given, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: MONITORING_PASSWORD: ")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackPaths:
    monkeypatch.setattr(login, "_ROUNDS", 4)
    found = StackPaths(tmp_path)
    found.folder.mkdir()
    return found


def up(place: StackPaths, password: str | None = None) -> str:
    """Write what `make up` does before Prometheus starts, and return the password in use."""
    monitoring_config.write(place, StackOptions(), {}, password)
    assert place.password_file.stat().st_mode & 0o777 == 0o600
    for path in place.folder.glob("*/web.yml"):
        assert path.stat().st_mode & 0o777 == 0o600
        (hashed,) = yaml.safe_load(path.read_text())["basic_auth_users"].values()
        assert bcrypt.checkpw(place.password().encode(), hashed.encode())
    if (told := place.folder / "prometheus" / "prometheus.yml").exists():
        (alertmanagers,) = yaml.safe_load(told.read_text()).get("alerting", {}).get("alertmanagers", [{}])
        assert alertmanagers.get("basic_auth", {}).get("password_file", "") in ("", str(place.password_file))
    return place.password()


@pytest.mark.integration
def test_generated_password_is_random_and_persists_after_down(place: StackPaths, tmp_path: Path) -> None:
    first = up(place)
    place.remove_runtime_files()

    assert up(place) == first
    other = StackPaths(tmp_path / "other")
    other.folder.mkdir(parents=True)
    assert up(other) != first
    assert len(first) >= 32


@pytest.mark.integration
def test_configured_password_is_used_and_removed_with_stack(place: StackPaths) -> None:
    own = up(place)

    assert up(place, "given-0815") == "given-0815"
    place.remove_runtime_files()
    assert not [path for path in place.folder.rglob("*") if path.is_file() and b"given-0815" in path.read_bytes()]
    assert not list(place.folder.glob("*/web.yml"))
    assert up(place) == own


def test_password_without_installed_monitoring_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitoring_config.check_password(StackOptions(), None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(login.PasswordError, match="has no effect: Prometheus and Alertmanager are not installed"):
        monitoring_config.check_password(StackOptions(), "given-0815")
