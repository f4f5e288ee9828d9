"""Code of a team in cache keys: its modules by their syntax trees, or the version that a class or function declares."""

from __future__ import annotations

import ast
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from ai_workflow.code_versions.modules import Finder
from ai_workflow.plugins import search_path
from ai_workflow.plugins.names import CodePath

_NAME = "version"
_INSTALLED = {"site-packages", "dist-packages"}
_COMPILED = {".so", ".pyd"}


def reference(path: CodePath) -> str | None:
    """Return the module of own code, `module:name@version` if it declares a version, or None if it is not found.

    A class declares `version = "2"` in its body, a function by `name.version = "2"` after it. The code is not run.
    A module of an installed package with compiled code is `module@version`, with the version of the package.
    """
    search_path.extend()
    module = Finder().find(path.module)
    if module is None:
        return None
    if module.file and (installed := _compiled_version(Path(module.file), path.module)):
        return f"{path.module}@{installed}"
    try:
        body = ast.parse(module.source or b"").body
    except (SyntaxError, ValueError, RecursionError):
        return path.module
    version = _declared(body, path.name)
    return f"{path}@{version}" if version else path.module


def _compiled_version(file: Path, module: str) -> str | None:
    """Return the version of the installed package of a module if it has files that are no Python source."""
    if not _INSTALLED & set(file.parts):
        return None
    for package in packages_distributions().get(module.partition(".")[0], []):
        found = distribution(package)
        if any(entry.suffix in _COMPILED for entry in found.files or ()):
            return found.version
    return None


def _declared(body: list[ast.stmt], name: str) -> str | None:
    for statement in body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return next((text for inner in statement.body if (text := _text(inner, _NAME))), None)
        if text := _text(statement, f"{name}.{_NAME}"):
            return text
    return None


def _text(statement: ast.stmt, target: str) -> str | None:
    """Return the text that a statement assigns to a target."""
    if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        value = statement.value.value
        if isinstance(value, str) and target in map(ast.unparse, targets):
            return value
    return None
