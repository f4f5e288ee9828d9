"""Conversion of a merged tree to plain values: fills in `${VAR}` and `${VAR:-default}`, keeps secret references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ai_workflow.config import paths, schema
from ai_workflow.config.problems import Problem
from ai_workflow.config.reader import Node, scalar
from ai_workflow.config.schema import KeyPath

# `$${` | `${body}` | a `${` that is never closed
_TOKEN = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SECRET = re.compile(r"\$\{secret:[a-z0-9][a-z0-9-]*\}")
_SYNTAX = "write ${VAR}, ${VAR:-default}, ${secret:NAME}, or $${ for a literal ${"


class BadValueError(Exception):
    """A value cannot be filled in; `args[0]` is the reason."""


def fill_in(value: str, env: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled in.

    Raises:
        BadValueError: a variable is not set, or a placeholder is invalid.
    """

    def fill(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        if match["body"] is None:
            raise BadValueError(f"a ${{ that is never closed; {_SYNTAX}")
        return _variable(match["body"], env)

    return _TOKEN.sub(fill, value)


def filled_or_raw(node: Node | None, env: Mapping[str, str]) -> object:
    """Return a scalar with its placeholders filled in, or unchanged if that fails."""
    value = node.value if node else None
    try:
        return fill_in(value, env) if isinstance(value, str) else value
    except BadValueError:
        return value


def named_variables(node: Node) -> Iterator[str]:
    """Yield the name of each environment variable in a tree."""
    if isinstance(node.value, dict | list):
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from named_variables(child)
    elif isinstance(node.value, str):
        for token in _TOKEN.finditer(node.value):
            if match := _VARIABLE.fullmatch(token["body"] or ""):
                yield match[1]


class Filler:
    """Substitution in a tree; `problems` and `bad` paths describe the values that could not be filled in.

    Args:
        env: the environment variables.
        folders: the folder of each file, by the name of the file in nodes.
    """

    def __init__(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        self.problems: list[Problem] = []
        self.bad: set[KeyPath] = set()
        self._env = env
        self._folders = folders

    def fill(self, node: Node, path: KeyPath = ()) -> object:
        """Return the plain value of a tree, with None for values that cannot be filled in."""
        if isinstance(node.value, dict):
            return {key: self.fill(child, (*path, key)) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [self.fill(child, (*path, index)) for index, child in enumerate(node.value)]
        if path and not schema.types_at(path):
            return node.value  # the unknown key is reported later
        try:
            return self._scalar(node, path)
        except BadValueError as error:
            self.bad.add(path)
            self.problems.append(Problem(node.file, node.line, ".".join(map(str, path)), error.args[0]))
            return None

    def _scalar(self, node: Node, path: KeyPath) -> object:
        value = node.value
        if isinstance(value, str) and "${" in value:
            value = self._secret(value) if schema.takes_secret(path) else self._plain(node, value, path)
        if isinstance(value, bool) and schema.takes_number_not_bool(path):
            raise BadValueError(f"must be a number, and {_written(node)} is true or false for YAML")
        if isinstance(value, str) and schema.takes_file_path(path) and not _SECRET.fullmatch(value):
            return paths.absolute(value, self._folders[node.file])
        return value

    def _secret(self, value: str) -> str:
        if _SECRET.fullmatch(value):
            return value
        if "${secret:" in value.replace("$${", ""):
            raise BadValueError("a secret must be the whole value: ${secret:NAME}, the name of a-z, 0-9 and -")
        return fill_in(value, self._env)

    def _plain(self, node: Node, value: str, path: KeyPath) -> object:
        filled = fill_in(value, self._env)
        token = _TOKEN.fullmatch(value)
        if node.written is None or not token or token["body"] is None:
            return filled
        try:
            read = scalar(filled)
        except ValueError as error:
            raise BadValueError(str(error)) from None
        if schema.takes_only_text(path) and not (read is None and type(None) in schema.types_at(path)):
            return filled
        return read


def _variable(body: str, env: Mapping[str, str]) -> str:
    if body.startswith("secret:"):
        raise BadValueError("a ${secret:NAME} is allowed only as the whole value of a field that holds a secret")
    match = _VARIABLE.fullmatch(body)
    if match is None:
        raise BadValueError(f"a placeholder that cannot be read; {_SYNTAX}")
    name, default = match.groups()
    if default is not None and "${" in default:
        raise BadValueError(f"the default of ${{{name}}} holds another placeholder; they do not nest")
    value = env.get(name) or default
    if value is None:
        if name in env:
            return ""
        raise BadValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValueError(f"the environment variable {name} is not UTF-8 text") from None
    return value


def _written(node: Node) -> str:
    return f"`{node.written}`" if node.written and "$" not in node.written else "this"
