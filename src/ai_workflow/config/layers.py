"""Layers of the configuration: files in order, with the reason why each is used or absent."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.config import pipeline_folders
from ai_workflow.config.problems import ConfigError, Problem
from ai_workflow.config.system import System, detect

BASE = Path("config", "base.yaml")
DEFAULT_ENVIRONMENT = "development"
OVERRIDE = "override"
# The checkout that contains this package, and the copy of the project folders in an installed package.
INSTALLED_PROJECTS = (Path(__file__).parents[3], Path(__file__).parents[1] / "_project")

# Reasons of the layers that a caller names.
_PIPELINE_FILE, _VARIABLE = "pipeline file", "AIW_CONFIG"
_NOT_ENVIRONMENTS = {"base", "logging"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A source of settings.

    Args:
        path: the file, or None.
        exists: whether it exists.
        reason: the reason why it is used or absent.
        name: its name in reports and origins.
    """

    path: Path | None
    exists: bool
    reason: str
    name: str


def project_root(root: Path | None, env: Mapping[str, str]) -> Path:
    """Return the folder with `config/base.yaml`: `root`, else AIW_ROOT, the current folder, this project.

    Raises:
        ConfigError: none has that file.
    """
    named = root or (Path(env["AIW_ROOT"]) if env.get("AIW_ROOT") else None)
    candidates = [named] if named else [Path.cwd(), *INSTALLED_PROJECTS]
    for folder in candidates:
        if (folder / BASE).is_file():
            return folder.absolute()
    searched = " or ".join(str(folder) for folder in candidates)
    raise ConfigError([Problem(str(BASE), 0, "", f"not found under {searched}; set AIW_ROOT to the project's folder")])


def find(
    root: Path, environment: str | None, pipeline: Path | None, env: Mapping[str, str]
) -> tuple[list[Layer], list[Problem]]:
    """Return the layers below the overrides, lowest first, and a problem for each requested layer that is absent."""
    candidates: list[Layer | Problem] = [_environment(root, environment)]
    candidates += _system(root, env)
    candidates.append(_named(root, env.get("AIW_CONFIG") or None, _VARIABLE))
    candidates.append(_named(root, pipeline, _PIPELINE_FILE))
    layers = [_layer(root, root / BASE, "base"), *(item for item in candidates if isinstance(item, Layer))]
    return layers, [item for item in candidates if isinstance(item, Problem)]


def files_of_pipeline(layers: Iterable[Layer]) -> list[Path]:
    """Return the pipeline file, and the file of AIW_CONFIG, as far as they exist."""
    named = {layer.reason: layer.path for layer in layers if layer.exists and layer.path}
    return [path for reason in (_PIPELINE_FILE, _VARIABLE) if (path := named.get(reason))]


def _layer(root: Path, path: Path, reason: str) -> Layer:
    absolute = path.expanduser().absolute()
    inside = absolute.is_relative_to(root)
    return Layer(absolute, absolute.exists(), reason, (absolute.relative_to(root) if inside else absolute).as_posix())


def environments(root: Path) -> tuple[str, ...]:
    """Return the names of the environments of a project, sorted."""
    return tuple(sorted(path.stem for path in (root / "config").glob("*.yaml") if path.stem not in _NOT_ENVIRONMENTS))


def _environment(root: Path, named: str | None) -> Layer | Problem:
    name = named or DEFAULT_ENVIRONMENT
    existing = environments(root)
    if name in existing or not named:
        return _layer(root, root / "config" / f"{name}.yaml", f"environment {name}")
    similar = difflib.get_close_matches(name, existing, 1)
    hint = f"did you mean '{similar[0]}'? " if similar else ""
    names = ", ".join(existing) or "none"
    return Problem("environment", 0, "", f"'{name}' has no file in config/; {hint}there are: {names}")


def system_folder(system: System, env: Mapping[str, str]) -> Path | None:
    """Return the folder with the layers of a system family, or None for other systems."""
    return _etc(env) / system.family if system.family else None


def _etc(env: Mapping[str, str]) -> Path:
    return Path(env.get("AIW_ETC") or "/etc/ai-workflow").absolute()


def _system(root: Path, env: Mapping[str, str]) -> list[Layer | Problem]:
    if problems := list(_absent(env)):
        return [*problems]
    system = detect(env)
    folder = system_folder(system, env)
    if folder is None:
        reason = f"{system.id or 'unknown'} is of neither system family"
        return [Layer(None, False, reason, f"{_etc(env).as_posix()}/")]
    reason = f"system {system.family} ({system.id})"
    try:
        present = sorted(folder.iterdir())
    except FileNotFoundError:
        present = []
    except OSError as error:
        message = f"cannot be read: {error.strerror}. Correct its permissions, or remove it"
        return [Problem(folder.as_posix(), 0, "", message)]
    files = [path for path in present if path.suffix == ".yaml"]
    return [_layer(root, path, reason) for path in files] or [Layer(None, False, reason, f"{folder.as_posix()}/*.yaml")]


def _absent(env: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each variable with the path of a missing folder or file."""
    for name, kind, exists in (("AIW_ETC", "folder", Path.is_dir), ("AIW_OS_RELEASE", "file", Path.is_file)):
        if env.get(name) and not exists(Path(env[name])):
            yield Problem(name, 0, "", f"{env[name]} is not a {kind}. Correct the path, or unset {name}")


def _named(root: Path, path: str | Path | None, source: str) -> Layer | Problem:
    if path is None:
        return Layer(None, False, "not given", source)
    named = Path(path).expanduser()
    # A worker may run in another folder than the one that the parameter of a deployment is relative to.
    existing = next((each for each in (named, root / named) if each.is_file()), None)
    existing = existing or pipeline_folders.file_of(root, str(path))
    layer = _layer(root, existing or (named if named.exists() else root / named), source)
    if layer.exists:
        return layer
    names = ", ".join(pipeline_folders.names(root))
    known = f". pipelines/ has {names}" if names else ""
    return Problem(source, 0, "", f"{path} does not exist. Correct --pipeline (PIPELINE=) or AIW_CONFIG{known}")
