"""Validation of plain values to `Settings`; errors of pydantic become messages with file, line and key."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ai_workflow.config import schema
from ai_workflow.config.merge import at, members
from ai_workflow.config.problems import Problem
from ai_workflow.config.reader import Node
from ai_workflow.config.schema import KeyPath
from ai_workflow.config.settings import SearchParameter, Settings, Trainer, trainer_params
from ai_workflow.config.settings.config_model import NAME_PATTERN
from ai_workflow.config.settings.search import problems as search_problems
from ai_workflow.config.settings.source import OWN
from ai_workflow.plugins import names

_SENTENCES = {
    "string_type": "must be text",
    "string_unicode": "must be text",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "union_tag_not_found": "required key is missing",
    "missing": "required key is missing",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} character(s)",
    "string_pattern_mismatch": "must match the pattern {pattern}",
}
_NOT_A_NAME = "must be 1 to 63 of a-z, 0-9, - and _, and begin with a letter or digit"
_TYPES = {"int": "must be a whole number", "float": "must be a number", "bool": "must be true or false"}
_ABSENT = {"missing", "union_tag_not_found"}


@dataclass(frozen=True)
class Checker:
    """Validator of the values of a tree.

    Args:
        root: the tree that the values came from.
        bad: paths whose values could not be filled in, which is reported already.
        partial: whether a layer could not be read, so that missing keys are not reported.
    """

    root: Node
    bad: Collection[KeyPath] = field(default=())
    partial: bool = False

    def settings(self, values: object) -> tuple[Settings | None, list[Problem]]:
        """Return the settings or None, and the problems."""
        problems = self._params_problems(values)
        try:
            return Settings.model_validate(values), problems
        except ValidationError as error:
            return None, self._problems(error.errors(include_url=False, include_input=False)) + problems

    def _params_problems(self, values: object) -> list[Problem]:
        """Return the problems of `trainer.params` and of a search, whether or not other keys are valid."""
        trainer = values.get("trainer") if isinstance(values, dict) else None
        if not isinstance(trainer, dict):
            return []
        kind = str(trainer.get("kind") or Trainer().kind)
        params = trainer.get("params")
        named = (
            {name: value for name, value in params.items() if isinstance(name, str)} if isinstance(params, dict) else {}
        )
        messages: dict[KeyPath, str] = {
            ("trainer", "params", name): text
            for name, text in trainer_params.problems(kind, named, trainer.get("loss"))
        }
        reported = {path[:3] for path in self.bad}
        messages = {path: text for path, text in messages.items() if path not in reported}
        invalid = {path[-1] for path in messages}
        valid = {name: value for name, value in named.items() if name not in invalid}
        messages |= _search_messages(kind, valid, trainer)
        return [self._problem(path, [text]) for path, text in messages.items() if path not in self.bad]

    def _problems(self, errors: list[ErrorDetails]) -> list[Problem]:
        messages: dict[KeyPath, list[str]] = {}
        for error in errors:
            path = self._path(error)
            if not self._is_reported(error, path):
                path, message = self._message(error, path)
                messages.setdefault(path, []).append(message)
        return [self._problem(path, texts) for path, texts in messages.items()]

    def _problem(self, path: KeyPath, messages: list[str]) -> Problem:
        message = " or ".join([messages[0], *(m.removeprefix("must be ") for m in messages[1:])])
        node, above = at(self.root, path), path
        while node is None:
            above = above[:-1]
            node = at(self.root, above)
        key = ".".join(_masked(part) if message.startswith("unknown key") else str(part) for part in path)
        if node.value is None and path and message.startswith("must be"):
            message += ", but it is empty"
        return Problem(node.file, node.line, key, message)

    def _path(self, error: ErrorDetails) -> KeyPath:
        """Return the location of an error as YAML keys, without the names that pydantic adds for union members."""
        path: KeyPath = ()
        tagged = False
        loc = error["loc"]
        for index, part in enumerate(loc):
            names_key = index == len(loc) - 1 and error["type"] in ("missing", "extra_forbidden")
            kind = members(at(self.root, path)).get("kind")
            if not names_key and not tagged and kind and isinstance(part, str) and schema.is_union(path):
                tagged = True
            elif names_key or at(self.root, (*path, part)) is not None:
                path, tagged = (*path, part), False
        return (*path, "kind") if error["type"].startswith("union_tag") else path

    def _is_reported(self, error: ErrorDetails, path: KeyPath) -> bool:
        """Return whether an error follows from a problem that is reported already."""
        if error["type"] in _ABSENT and self.partial:
            return True
        # Where text and mappings are valid, pydantic says of an invalid mapping also that it is no text.
        if error["type"] == "string_type" and schema.is_union(path) and members(at(self.root, path)):
            return True
        is_own_check = error["type"] == "value_error"
        return path in self.bad or (is_own_check and any(bad[: len(path)] == path for bad in self.bad))

    def _message(self, error: ErrorDetails, path: KeyPath) -> tuple[KeyPath, str]:
        kind, context = error["type"], error.get("ctx", {})
        if kind == "extra_forbidden":
            return path, self._unknown(path)
        if kind == "value_error":
            return self._value_error(str(context["error"]), path)
        if kind == "union_tag_invalid":
            tags = context["expected_tags"].replace("'", "").split(", ")
            if OWN in tags:
                return path, names.problem("sources", str(context["tag"]), tags[:-1]) or "unknown name"
            return path, f"must be {context['expected_tags'].replace(', ', ' or ')}"
        if context.get("pattern") == NAME_PATTERN:
            return path, _NOT_A_NAME
        sentence = _SENTENCES.get(kind) or _TYPES.get(kind.split("_")[0])
        # Pydantic shows the bound 1 of a float as 1.0.
        context = {
            key: int(bound) if isinstance(bound, float) and bound.is_integer() else bound
            for key, bound in context.items()
        }
        message = sentence.format(**context) if sentence else error["msg"].replace("Input should be", "must be")
        node = at(self.root, path)
        if kind == "string_type" and node and isinstance(node.value, int | float) and node.written:
            kind_of_value = "true or false" if isinstance(node.value, bool) else "a number"
            message += f", and `{node.written}` is {kind_of_value} for YAML; quote it"
        return path, message

    def _unknown(self, path: KeyPath) -> str:
        if _masked(path[-1]) != path[-1]:
            return "unknown key; is the space after a colon missing?"
        parent = members(at(self.root, path[:-1]))
        known = schema.keys_at(path[:-1], parent["kind"].value if "kind" in parent else None)
        similar = difflib.get_close_matches(str(path[-1]), known, 1)
        return "unknown key; " + (f"did you mean '{similar[0]}'?" if similar else f"known here: {', '.join(known)}")

    def _value_error(self, message: str, path: KeyPath) -> tuple[KeyPath, str]:
        """Return path and text of an error of a validator; a key at the start of its message becomes the path."""
        first, _, rest = message.partition(" ")
        name = first.strip("`")
        for parts in (name.split(".", 1), name.split(".")):
            key: KeyPath = (*path, *parts)
            if at(self.root, key) is not None:
                return key, rest
        return path, message


def _search_messages(kind: str, params: dict[str, Any], trainer: dict[str, Any]) -> dict[KeyPath, str]:
    """Return the problems of the parameters of a search whose ranges are valid."""
    search = trainer.get("search")
    ranges = search.get("parameters") if isinstance(search, dict) else None
    samples = {}
    for name, values in ranges.items() if isinstance(ranges, dict) else ():
        with contextlib.suppress(ValidationError):
            samples[name] = SearchParameter.model_validate(values).samples
    found = search_problems.problems(kind, params, samples, trainer.get("loss"))
    return {("trainer", "search", "parameters", name): text for name, text in found}


def _masked(part: str | int) -> str:
    """Return the part of a key that is a name: without the space in `password:hunter2`, the rest may be a secret."""
    name = re.match(r"[\w.-]*", str(part))
    return str(part) if name and name.end() == len(str(part)) else f"{name.group() if name else ''}…"
