"""Typed access to a YAML mapping; each problem is recorded with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from ai_workflow.config.problems import Problem
from ai_workflow.config.reader import Node
from ai_workflow.slo import durations


class Fields:
    """Fields of a mapping. `close` records a problem for every field that was not read."""

    def __init__(self, node: Node | None, path: str, problems: list[Problem]) -> None:
        self.node = node or Node({})
        self.path = path
        self.problems = problems
        self._nodes: dict[str, Node] = self.node.value if isinstance(self.node.value, dict) else {}
        self._read_keys: list[str] = []
        if not isinstance(self.node.value, dict):
            self.add_problem(None, "must be a mapping of keys")

    def __contains__(self, key: str) -> bool:
        return key in self._nodes and self._nodes[key].value is not None

    def names(self) -> list[str]:
        """Return the names of all fields in order."""
        return list(self._nodes)

    def node_of(self, key: str) -> Node | None:
        """Return the YAML node of a field, or None if it is missing or empty."""
        self._read_keys.append(key)
        return self._nodes[key] if key in self else None

    def line_of(self, key: str) -> int:
        """Return the line of a field, or of the mapping if the field is missing."""
        return self._nodes[key].line if key in self._nodes else self.node.line

    def add_problem(self, key: str | None, message: str) -> None:
        """Record a problem of a field, or of the mapping itself."""
        path = ".".join(part for part in (self.path, key) if part)
        self.problems.append(Problem(self.node.file, self.line_of(key) if key else self.node.line, path, message))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text or number as written; a missing field without default is a problem."""
        node = self.node_of(key)
        if node is None:
            if default is None:
                self.add_problem(key, "required key is missing")
            return default or ""
        if isinstance(node.value, dict | list):
            self.add_problem(key, "must be text")
            return ""
        return node.written if node.written is not None else str(node.value)

    def choice(self, key: str, among: Sequence[str], default: str | None = None) -> str:
        """Return a text that must be one of the choices."""
        choice = self.text(key, default)
        if key in self and choice not in among:
            self.add_problem(key, f"must be {' or '.join(among)}")
        return choice

    def number(self, key: str, default: Decimal | None = None) -> Decimal:
        """Return a number without rounding."""
        if key not in self and default is not None:
            self.node_of(key)
            return default
        text = self.text(key)
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            if text:
                self.add_problem(key, f"must be a number, not `{text}`")
            return Decimal(0)
        return number

    def duration(self, key: str, default: str | None = None) -> str:
        """Return a duration as written."""
        text = self.text(key, default)
        if text:
            try:
                durations.seconds(text)
            except ValueError as error:
                self.add_problem(key, str(error))
                return "1s"
        return text or "1s"

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts."""
        node = self.node_of(key)
        if node is None:
            return default
        if not isinstance(node.value, list):
            self.add_problem(key, "must be a list")
            return default
        return tuple(str(item.value) for item in node.value)

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping of texts; empty if missing."""
        inner = self.inner(key)
        return {name: inner.text(name, "") for name in inner.names()}

    def inner(self, key: str) -> Fields:
        """Return the fields of a nested mapping; empty if missing."""
        path = f"{self.path}.{key}" if self.path else key
        return Fields(self.node_of(key), path, self.problems)

    def items(self, key: str) -> list[Fields]:
        """Return the mappings of a list."""
        node = self.node_of(key)
        if node is None:
            return []
        if not isinstance(node.value, list):
            self.add_problem(key, "must be a list")
            return []
        path = f"{self.path}.{key}" if self.path else key
        return [Fields(item, f"{path}.{index}", self.problems) for index, item in enumerate(node.value)]

    def close(self) -> None:
        """Record a problem for every field that was not read."""
        for key in self._nodes:
            if key not in self._read_keys:
                similar = difflib.get_close_matches(key, self._read_keys, 1)
                known = ", ".join(dict.fromkeys(self._read_keys))
                hint = f"did you mean '{similar[0]}'?" if similar else f"known keys: {known}"
                self.add_problem(key, f"unknown key; {hint}")
