"""Code of a team in cache keys: its modules by their syntax trees, or the version that a class or function declares."""

from __future__ import annotations

import ast

from ai_workflow.code_versions.modules import Finder
from ai_workflow.plugins import search_path
from ai_workflow.plugins.names import CodePath

_NAME = "version"


def reference(path: CodePath) -> str | None:
    """Return the module of own code, `module:name@version` if it declares a version, or None if it is not found.

    A class declares `version = "2"` in its body, a function by `name.version = "2"` after it. The code is not run.
    """
    search_path.extend()
    module = Finder().find(path.module)
    if module is None:
        return None
    try:
        body = ast.parse(module.source or b"").body
    except (SyntaxError, ValueError, RecursionError):
        return path.module
    version = _declared(body, path.name)
    return f"{path}@{version}" if version else path.module


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
