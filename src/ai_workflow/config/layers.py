"""Which files make up the configuration, in order, and why each of them is used or absent."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.config.problems import ConfigError, Problem

BASE = Path("config", "base.yaml")
DEFAULT_ENVIRONMENT = "development"
OVERRIDE = "override"

_NOT_ENVIRONMENTS = {"base", "logging"}
_FAMILIES = {
    "centos": {"rhel", "centos", "fedora", "rocky", "almalinux", "ol", "amzn", "scientific"},
    "ubuntu": {"debian", "ubuntu"},
}
_OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that settings may come from; `name` is what reports and origins call it."""

    path: Path | None
    found: bool
    why: str
    name: str


def project_root(root: Path | None, env: Mapping[str, str]) -> Path:
    """Return the folder that holds `config/base.yaml`: the one given, else AIW_ROOT, this folder, this project.

    Raises:
        ConfigError: it has no such file.
    """
    named = root or (Path(env["AIW_ROOT"]) if env.get("AIW_ROOT") else None)
    candidates = [named] if named else [Path.cwd(), Path(__file__).parents[3]]
    for folder in candidates:
        if (folder / BASE).is_file():
            return folder.absolute()
    looked = " or ".join(str(folder) for folder in candidates)
    raise ConfigError([Problem(str(BASE), 0, "", f"not found under {looked}; set AIW_ROOT to the project's folder")])


def system(env: Mapping[str, str]) -> tuple[str | None, str]:
    """Return `centos` for the RHEL family, `ubuntu` for the Debian family, else None; and the ID of the system."""
    named = env.get("AIW_OS_RELEASE")
    for path in [Path(named)] if named else _OS_RELEASE:
        try:
            fields = _os_release(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        own = fields.get("ID", "").lower()
        ids = [own, *fields.get("ID_LIKE", "").lower().split()]
        return next((name for item in ids for name, family in _FAMILIES.items() if item in family), None), own
    return None, ""


def find(
    root: Path, environment: str | None, pipeline: Path | None, env: Mapping[str, str]
) -> tuple[list[Layer], list[Problem]]:
    """Return the layers below the overrides, later wins, and a problem for each that was asked for and is absent."""
    chosen = [_environment(root, environment)]
    chosen += _system(root, env)
    chosen.append(_named(root, env.get("AIW_CONFIG") or None, "AIW_CONFIG"))
    chosen.append(_named(root, pipeline, "pipeline file"))
    layers = [_layer(root, root / BASE, "base"), *(item for item in chosen if isinstance(item, Layer))]
    return layers, [item for item in chosen if isinstance(item, Problem)]


def _os_release(text: str) -> dict[str, str]:
    fields = {}
    for line in text.splitlines():
        key, found, value = line.strip().partition("=")
        if found and not key.startswith("#"):
            try:
                fields[key] = " ".join(shlex.split(value))
            except ValueError:
                fields[key] = value
    return fields


def _layer(root: Path, path: Path, why: str) -> Layer:
    absolute = path.expanduser().absolute()
    inside = absolute.is_relative_to(root)
    return Layer(absolute, absolute.exists(), why, (absolute.relative_to(root) if inside else absolute).as_posix())


def _environment(root: Path, named: str | None) -> Layer | Problem:
    name = named or DEFAULT_ENVIRONMENT
    existing = sorted(path.stem for path in (root / "config").glob("*.yaml") if path.stem not in _NOT_ENVIRONMENTS)
    if name in existing or not named:
        return _layer(root, root / "config" / f"{name}.yaml", f"environment {name}")
    near = difflib.get_close_matches(name, existing, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    there = ", ".join(existing) or "none"
    return Problem("environment", 0, "", f"'{name}' has no file in config/; {hint}there are: {there}")


def _system(root: Path, env: Mapping[str, str]) -> list[Layer]:
    etc = Path(env.get("AIW_ETC") or "/etc/ai-workflow").absolute()
    name, own = system(env)
    if name is None:
        return [Layer(None, False, f"{own or 'unknown'} is of neither system family", f"{etc.as_posix()}/")]
    folder = etc / name
    files = sorted(folder.glob("*.yaml"))
    if not files:
        return [Layer(None, False, f"system {name} ({own})", f"{folder.as_posix()}/*.yaml")]
    return [_layer(root, path, f"system {name} ({own})") for path in files]


def _named(root: Path, path: str | Path | None, why: str) -> Layer | Problem:
    if path is None:
        return Layer(None, False, "not given", why)
    layer = _layer(root, Path(path), why)
    return layer if layer.found else Problem(why, 0, "", f"{path} does not exist")
