"""The configuration of Prometheus and Alertmanager of a stack: monitoring/slo.yaml with its own ports and secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ai_workflow.local import login
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack.paths import Options, Place
from ai_workflow.local.stack.services import SERVICES
from ai_workflow.slo import build, reader
from ai_workflow.slo.outputs import alertmanager_config, scrape_config
from ai_workflow.slo.outputs.file_text import as_yaml
from ai_workflow.slo.spec import Spec


def write(place: Place, options: Options, tokens: Mapping[str, str], password: str | None = None) -> None:
    """Write the configuration of both, as far as they are started.

    Args:
        place: where they keep it.
        options: with what the stack is started.
        tokens: the bearer token of `service` and `relay`, where they require one.
        password: of both; the stack's own if not given.
    """
    names = {service.name for service in options.services}
    here = _here(reader.load(), options, _password(place, password))
    for service in options.services:
        if service.requires_login:
            _secret(place.of(service) / "web.yml", login.web_config(place.password()))
    if "prometheus" in names:
        folder = place.folder / "prometheus"
        token = tokens.get("service")
        shown = {"inference": str(_secret(folder / "inference-token", token))} if token else {}
        config = scrape_config.config(here, shown)
        # Relative to its folder: a sign like [ or * in an absolute path would be part of the pattern.
        config["rule_files"] = [f"{_link(folder / 'rules', build.generated() / 'prometheus' / 'rules').name}/*.yaml"]
        if "alertmanager" not in names:
            del config["alerting"]
        _file(folder / "prometheus.yml", as_yaml(config))
    if "alertmanager" in names:
        folder = place.folder / "alertmanager"
        file = _secret(folder / "relay-token", tokens["relay"]) if "relay" in tokens else None
        places = {**here.places, "relay_token_file": str(file or "")}
        _file(folder / "alertmanager.yml", as_yaml(alertmanager_config.config(replace(here, places=places))))


def check_password(options: Options, password: str | None) -> None:
    """Raise if a given password of Prometheus and Alertmanager cannot be used.

    Raises:
        PasswordError: it has no effect, as neither is installed, or they do not accept it.
    """
    if password and not any(service.requires_login for service in options.services):
        raise login.PasswordError(
            f"{login.VARIABLE} has no effect: Prometheus and Alertmanager are not installed. Unset it, or install them"
        )
    if password:
        login.check(password)


def _password(place: Place, given: str | None) -> Path:
    """Write the password of Prometheus and Alertmanager, and return its file; the stack's own is kept for ever."""
    place.given_password.unlink(missing_ok=True)
    if given:
        return _secret(place.given_password, given)
    if not place.password():
        _secret(place.password_file, secrets.token_urlsafe(24))
    return place.password_file


def _here(spec: Spec, options: Options, password_file: Path) -> Spec:
    """Return the SLO file with the addresses of this stack."""
    targets = {service.job: (f"{HOST}:{options.port(service)}",) for service in options.services if service.job}
    (relay,) = targets["relay"]
    places = {
        **spec.places,
        "relay": f"http://{relay}/alertmanager",
        "monitoring_password_file": str(password_file),
    }
    return replace(spec, targets=targets, places=places)


def _secret(path: Path, text: str) -> Path:
    """Write a secret for a program that reads none from its environment."""
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
    """Return the lines that install what is not there."""
    lacking = [service for service in SERVICES if service.install and not service.program]
    return [f"{service.title} is not installed: {service.install}" for service in lacking if service.install]
