"""`ai-workflow config`: check, show and explain the configuration."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator
from typing import Any

import yaml
from cyclopts import App

from ai_workflow.cli.common_options import ConfigOptions
from ai_workflow.config import project_pipelines, startup
from ai_workflow.config.layers import project_root, system_folder
from ai_workflow.config.loader import Loaded
from ai_workflow.config.system import detect
from ai_workflow.errors import AiWorkflowError

DEFAULT = "built-in default"

app = App(name="config", help="Check, show and explain the configuration.")
_DEFAULTS = ConfigOptions()


class UnknownKeyError(AiWorkflowError):
    """No setting has this name."""


@app.command
def check(*, options: ConfigOptions = _DEFAULTS) -> None:
    """Check every layer of the configuration, URLs, tokens, and the environment variables that are set.

    Without --pipeline, the pipelines in `pipelines/` are checked, too.

    Args:
        options: Pipeline and environment.
    """
    configurations = [options.loaded]
    if options.pipeline is None:
        root = project_root(None, os.environ)
        configurations += project_pipelines.load(root, environment=options.environment).values()
    for loaded in configurations:
        startup.check(loaded, os.environ)
    for loaded in configurations:
        used = sum(layer.exists for layer in loaded.layers)
        settings = loaded.settings
        print(f"configuration ok: pipeline {settings.pipeline}, environment {settings.environment}, {used} layers")


@app.command
def show(*, options: ConfigOptions = _DEFAULTS, origin: bool = False) -> None:
    """Print the effective configuration as YAML; secrets are shown as ***.

    Args:
        options: Pipeline and environment.
        origin: Append the file and line that set each value.
    """
    loaded = options.loaded
    print("\n".join(_lines(_effective(loaded), loaded if origin else None)))


@app.command
def where(key: str | None = None, /, *, options: ConfigOptions = _DEFAULTS) -> None:
    """List the detected system and the layers, or name the file and line that sets a key.

    Args:
        key: Dotted key such as trainer.steps.
        options: Pipeline and environment.
    """
    loaded = options.loaded
    print(_origin(loaded, key) if key is not None else f"{_system()}\n\n{_layers(loaded)}")


def _effective(loaded: Loaded) -> dict[str, Any]:
    return loaded.settings.model_dump(mode="json", by_alias=True)


def _system() -> str:
    system = detect(os.environ)
    folder = system_folder(system, os.environ)
    detected = f"{system.title} (ID {system.id})" if system.id else "unknown: there is no os-release file with an ID"
    return "\n".join(
        [
            f"Detected system: {detected}",
            f"System family: {system.family or 'neither centos nor ubuntu'}",
            f"Config dir: {folder.as_posix() if folder else 'none'}",
        ]
    )


def _layers(loaded: Loaded) -> str:
    width = max(len(layer.name) for layer in loaded.layers)
    rows = (("used" if layer.exists else "absent", layer.name, layer.reason) for layer in loaded.layers)
    return "\n".join(f"{state:6}  {name:{width}}  {reason}" for state, name, reason in rows)


def _origin(loaded: Loaded, key: str) -> str:
    known = list(_keys(_effective(loaded)))
    if key in known:
        return loaded.origin(key) or DEFAULT
    similar = difflib.get_close_matches(key, known, 1)
    hint = f"Did you mean '{similar[0]}'?" if similar else "ai-workflow config show lists all keys"
    raise UnknownKeyError(f"unknown key '{key}'. {hint}")


def _keys(values: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{name}.")


def _lines(values: dict[str, Any], loaded: Loaded | None, above: tuple[str, ...] = ()) -> Iterator[str]:
    indent = "  " * len(above)
    for name, value in values.items():
        path = (*above, name)
        if isinstance(value, dict) and value:
            yield f"{indent}{_text(name)}:"
            yield from _lines(value, loaded, path)
        else:
            source = f"  # {loaded.origin('.'.join(path)) or DEFAULT}" if loaded else ""
            yield f"{indent}{_text(name)}: {_text(value)}{source}"


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes each value on one line."""


def _one_line(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if len(text.splitlines()) > 1 or text != text.strip() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _one_line)


def _text(value: object) -> str:
    options: dict[str, Any] = {"default_flow_style": True, "width": math.inf, "allow_unicode": True, "sort_keys": False}
    dumped: str = yaml.dump(value, Dumper=_Dumper, **options)
    return dumped.removesuffix("...\n").strip("\n")
