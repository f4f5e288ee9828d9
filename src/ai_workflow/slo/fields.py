"""Reads the members of one YAML mapping, typed; notes what is wrong with each at its file and line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from ai_workflow.config.problems import Problem
from ai_workflow.config.reader import Node
from ai_workflow.slo import durations


class Fields:
    """The members of a mapping, asked for one by one; `close` notes those that nobody asked for."""

    def __init__(self, node: Node | None, path: str, problems: list[Problem]) -> None:
        self.node = node or Node({})
        self.path = path
        self.problems = problems
        self._members: dict[str, Node] = self.node.value if isinstance(self.node.value, dict) else {}
        self._asked: list[str] = []
        if not isinstance(self.node.value, dict):
            self.refuse(None, "must be a mapping of keys")

    def __contains__(self, key: str) -> bool:
        return key in self._members and self._members[key].value is not None

    def names(self) -> list[str]:
        """Return the names of all members, in their order."""
        return list(self._members)

    def node_of(self, key: str) -> Node | None:
        """Return the member as it stands, None where it is missing or empty."""
        self._asked.append(key)
        return self._members[key] if key in self else None

    def line_of(self, key: str) -> int:
        """Return the line of the member, else that of the mapping."""
        return self._members[key].line if key in self._members else self.node.line

    def refuse(self, key: str | None, message: str) -> None:
        """Note that something is wrong with the member, or with the mapping itself."""
        path = ".".join(part for part in (self.path, key) if part)
        self.problems.append(Problem(self.node.file, self.line_of(key) if key else self.node.line, path, message))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text or a number as it is written; a missing one without default is a problem."""
        node = self.node_of(key)
        if node is None:
            if default is None:
                self.refuse(key, "required key is missing")
            return default or ""
        if isinstance(node.value, dict | list):
            self.refuse(key, "must be text")
            return ""
        return node.written if node.written is not None else str(node.value)

    def choice(self, key: str, among: Sequence[str], default: str | None = None) -> str:
        """Return a text that is one of these."""
        found = self.text(key, default)
        if key in self and found not in among:
            self.refuse(key, f"must be {' or '.join(among)}")
        return found

    def number(self, key: str, default: Decimal | None = None) -> Decimal:
        """Return a number exactly as it is written."""
        if key not in self and default is not None:
            self.node_of(key)
            return default
        text = self.text(key)
        try:
            found = Decimal(text)
        except InvalidOperation:
            if text:
                self.refuse(key, f"must be a number, and `{text}` is none")
            return Decimal(0)
        if not found.is_finite():
            self.refuse(key, f"must be a number, and `{text}` is none")
            return Decimal(0)
        return found

    def duration(self, key: str, default: str | None = None) -> str:
        """Return a duration as it is written."""
        text = self.text(key, default)
        if text:
            try:
                durations.seconds(text)
            except ValueError as error:
                self.refuse(key, str(error))
                return "1s"
        return text or "1s"

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts."""
        node = self.node_of(key)
        if node is None:
            return default
        if not isinstance(node.value, list):
            self.refuse(key, "must be a list")
            return default
        return tuple(str(item.value) for item in node.value)

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping of texts; empty where it is missing."""
        inner = self.inner(key)
        return {name: inner.text(name, "") for name in inner.names()}

    def inner(self, key: str) -> Fields:
        """Return the members of a mapping inside this one; none where it is missing."""
        path = f"{self.path}.{key}" if self.path else key
        return Fields(self.node_of(key), path, self.problems)

    def items(self, key: str) -> list[Fields]:
        """Return the mappings of a list."""
        node = self.node_of(key)
        if node is None:
            return []
        if not isinstance(node.value, list):
            self.refuse(key, "must be a list")
            return []
        path = f"{self.path}.{key}" if self.path else key
        return [Fields(item, f"{path}.{index}", self.problems) for index, item in enumerate(node.value)]

    def close(self) -> None:
        """Note every member that was not asked for."""
        for key in self._members:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, 1)
                known = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(dict.fromkeys(self._asked))}"
                self.refuse(key, f"unknown key; {known}")
