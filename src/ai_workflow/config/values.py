"""The merged tree -> plain values: `${VAR}` and `${VAR:-default}` are filled in, references to secrets are kept."""

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


class BadValue(Exception):
    """A value that cannot be had; `args[0]` says why."""


def text(value: str, env: Mapping[str, str]) -> str:
    """Return the text with its placeholders filled in.

    Raises:
        BadValue: a variable is not set, or a placeholder is none.
    """

    def fill(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        if match["body"] is None:
            raise BadValue(f"a ${{ that is never closed; {_SYNTAX}")
        return _variable(match["body"], env)

    return _TOKEN.sub(fill, value)


def quiet(node: Node | None, env: Mapping[str, str]) -> object:
    """Return a scalar as text with its placeholders filled in, or as it stands where that cannot be done."""
    value = node.value if node else None
    try:
        return text(value, env) if isinstance(value, str) else value
    except BadValue:
        return value


def named_variables(node: Node) -> Iterator[str]:
    """Yield the name of each environment variable that a tree names."""
    if isinstance(node.value, dict | list):
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from named_variables(child)
    elif isinstance(node.value, str):
        for token in _TOKEN.finditer(node.value):
            if match := _VARIABLE.fullmatch(token["body"] or ""):
                yield match[1]


class Filler:
    """Fills in a whole tree; `problems` and the `bad` paths name what could not be filled in.

    Args:
        env: the environment variables.
        folders: the folder of each file that set values, by the name that nodes have for it.
    """

    def __init__(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        self.problems: list[Problem] = []
        self.bad: set[KeyPath] = set()
        self._env = env
        self._folders = folders

    def fill(self, node: Node, path: KeyPath = ()) -> object:
        """Return the tree's plain value; what cannot be filled in becomes None."""
        if isinstance(node.value, dict):
            return {key: self.fill(child, (*path, key)) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [self.fill(child, (*path, index)) for index, child in enumerate(node.value)]
        if path and not schema.types_at(path):
            return node.value  # an unknown key is said to be one; what it holds does not matter
        try:
            return self._scalar(node, path)
        except BadValue as error:
            self.bad.add(path)
            self.problems.append(Problem(node.file, node.line, ".".join(map(str, path)), error.args[0]))
            return None

    def _scalar(self, node: Node, path: KeyPath) -> object:
        value = node.value
        if isinstance(value, str) and "${" in value:
            value = self._secret(value) if schema.takes_secret(path) else self._plain(node, value, path)
        if isinstance(value, bool) and schema.takes_number_not_bool(path):
            raise BadValue(f"must be a number, and {_written(node)} is true or false for YAML")
        if isinstance(value, str) and schema.takes_file_path(path) and not _SECRET.fullmatch(value):
            return paths.absolute(value, self._folders[node.file])
        return value

    def _secret(self, value: str) -> str:
        if _SECRET.fullmatch(value):
            return value
        if "${secret:" in value.replace("$${", ""):
            raise BadValue("a secret must be the whole value: ${secret:NAME}, the name of a-z, 0-9 and -")
        return text(value, self._env)

    def _plain(self, node: Node, value: str, path: KeyPath) -> object:
        filled = text(value, self._env)
        whole = _TOKEN.fullmatch(value)
        if node.written is None or not whole or whole["body"] is None:
            return filled
        try:
            read = scalar(filled)
        except ValueError as error:
            raise BadValue(str(error)) from None
        if schema.takes_only_text(path) and not (read is None and type(None) in schema.types_at(path)):
            return filled
        return read


def _variable(body: str, env: Mapping[str, str]) -> str:
    if body.startswith("secret:"):
        raise BadValue("a ${secret:NAME} is allowed only as the whole value of a field that holds a secret")
    match = _VARIABLE.fullmatch(body)
    if match is None:
        raise BadValue(f"a placeholder that cannot be read; {_SYNTAX}")
    name, default = match.groups()
    if default is not None and "${" in default:
        raise BadValue(f"the default of ${{{name}}} holds another placeholder; they do not nest")
    value = env.get(name) or default
    if value is None:
        if name in env:
            return ""
        raise BadValue(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue(f"the environment variable {name} is not UTF-8 text") from None
    return value


def _written(node: Node) -> str:
    return f"`{node.written}`" if node.written and "$" not in node.written else "this"
