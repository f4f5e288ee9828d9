"""Configuration of Prometheus and Alertmanager of a stack, from monitoring/slo.yaml with its ports and secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ai_workflow.local import login
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack.paths import StackOptions, StackPaths
from ai_workflow.local.stack.services import SERVICES
from ai_workflow.slo import build, reader
from ai_workflow.slo.outputs import alertmanager_config, scrape_config
from ai_workflow.slo.outputs.file_text import as_yaml
from ai_workflow.slo.spec import Spec


def write(paths: StackPaths, options: StackOptions, tokens: Mapping[str, str], password: str | None = None) -> None:
    """Write the configuration of Prometheus and Alertmanager, if they are installed.

    Args:
        paths: the folder of the stack.
        options: the options of the stack.
        tokens: the bearer tokens of `service` and `relay`, if they require one.
        password: the password of both; a generated one if not given.
    """
    names = {service.name for service in options.services}
    spec = _stack_spec(reader.load(), options, _password(paths, password))
    for service in options.services:
        if service.requires_login:
            _secret(paths.data_folder(service) / "web.yml", login.web_config(paths.password()))
    if "prometheus" in names:
        folder = paths.folder / "prometheus"
        token = tokens.get("service")
        token_files = {"inference": str(_secret(folder / "inference-token", token))} if token else {}
        config = scrape_config.config(spec, token_files)
        # Relative to its folder, because characters such as [ or * in an absolute path would be part of the pattern.
        config["rule_files"] = [f"{_link(folder / 'rules', build.generated() / 'prometheus' / 'rules').name}/*.yaml"]
        if "alertmanager" not in names:
            del config["alerting"]
        _file(folder / "prometheus.yml", as_yaml(config))
    if "alertmanager" in names:
        folder = paths.folder / "alertmanager"
        file = _secret(folder / "relay-token", tokens["relay"]) if "relay" in tokens else None
        places = {**spec.places, "relay_token_file": str(file or "")}
        _file(folder / "alertmanager.yml", as_yaml(alertmanager_config.config(replace(spec, places=places))))


def check_password(options: StackOptions, password: str | None) -> None:
    """Raise if MONITORING_PASSWORD cannot be used.

    Raises:
        PasswordError: neither Prometheus nor Alertmanager is installed, or they do not accept the password.
    """
    if password and not any(service.requires_login for service in options.services):
        raise login.PasswordError(
            f"{login.VARIABLE} has no effect: Prometheus and Alertmanager are not installed. Unset it, or install them"
        )
    if password:
        login.check(password)


def _password(paths: StackPaths, password: str | None) -> Path:
    """Write the password of Prometheus and Alertmanager, and return its file; a generated one is kept."""
    paths.given_password_file.unlink(missing_ok=True)
    if password:
        return _secret(paths.given_password_file, password)
    if not paths.password():
        _secret(paths.password_file, secrets.token_urlsafe(24))
    return paths.password_file


def _stack_spec(spec: Spec, options: StackOptions, password_file: Path) -> Spec:
    """Return the SLO specification with the addresses of this stack."""
    targets = {service.job: (f"{HOST}:{options.port(service)}",) for service in options.services if service.job}
    (relay,) = targets["relay"]
    places = {
        **spec.places,
        "relay": f"http://{relay}/alertmanager",
        "monitoring_password_file": str(password_file),
    }
    return replace(spec, targets=targets, places=places)


def _secret(path: Path, text: str) -> Path:
    """Write a secret to a file that only its owner may read."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _link(path: Path, target: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    return path


def missing() -> list[str]:
    """Return a line for each service that is not installed, with the command that installs it."""
    services = [service for service in SERVICES if service.install and not service.program]
    return [f"{service.title} is not installed: {service.install}" for service in services]
