"""What Prometheus and Alertmanager of a stack are told: monitoring/slo.yaml, with the stack's own ports and tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deploy.ports import HOST
from deploy.stack.place import Options, Place
from deploy.stack.services import SERVICES
from monitoring import alertmanager, build, reading, scraping
from monitoring.spec import Spec
from monitoring.text import as_yaml

RULES = build.GENERATED / "prometheus" / "rules"


def write(place: Place, options: Options, tokens: Mapping[str, str]) -> None:
    """Write the configuration of both, as far as they are started.

    Args:
        place: where they keep it.
        options: with what the stack is started.
        tokens: the bearer token of `service` and `relay`, where they ask for one.
    """
    here = _here(reading.load(), options)
    names = {service.name for service in options.services}
    if "prometheus" in names:
        folder = place.folder / "prometheus"
        token = tokens.get("service")
        shown = {"inference": str(_secret(folder / "inference-token", token))} if token else {}
        told = scraping.config(here, shown)
        told["rule_files"] = [str(RULES / "*.yaml")]
        if "alertmanager" not in names:
            del told["alerting"]
        _file(folder / "prometheus.yml", as_yaml(told))
    if "alertmanager" in names:
        folder = place.folder / "alertmanager"
        file = _secret(folder / "relay-token", tokens["relay"]) if "relay" in tokens else None
        places = {**here.places, "relay_token_file": str(file or "")}
        _file(folder / "alertmanager.yml", as_yaml(alertmanager.config(replace(here, places=places))))


def _here(spec: Spec, options: Options) -> Spec:
    """Return the promises with the addresses of this stack in the place of those of the file."""
    targets = {service.job: (f"{HOST}:{options.port(service)}",) for service in options.services if service.job}
    (relay,) = targets["relay"]
    return replace(spec, targets=targets, places={**spec.places, "relay": f"http://{relay}/alertmanager"})


def _secret(path: Path, text: str) -> Path:
    """Write a token for one who reads none from its environment; `make down` removes it."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def missing() -> list[str]:
    """Return the lines that install what is not there."""
    lacking = [service for service in SERVICES if service.install and not service.program]
    return [f"{service.title} is not installed: {service.install}" for service in lacking if service.install]
