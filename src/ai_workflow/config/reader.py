"""Reader of a YAML file to a tree of values with file and line. Dates are text; nothing is executed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, ScalarNode, SequenceNode
from yaml.reader import Reader

from ai_workflow.config import yaml_keys
from ai_workflow.config.problems import Problem
from ai_workflow.config.yaml_keys import NOT_TEXT, TAG

MAX_BYTES = 512 * 1024
MAX_DEPTH = 40
MAX_NODES = 100_000  # after expansion of aliases: nine lines of nested aliases can expand to a billion values

_SCALARS = {f"{TAG}{name}" for name in ("str", "int", "float", "bool", "null")}
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # line breaks of YAML
_HINTS = {
    "found character '\\t'": "a tab, where YAML wants spaces",
    "unexpected end of stream": "a quote that is never closed",
    "but got '<stream end>'": "a bracket that is never closed",
    "but got '{'": "inside { } or [ ] a text with ${...} must be quoted",
    "expected a single document": "several documents in one file; keep one",
    "found undefined alias": "a text that begins with * is read as an alias; quote it",
    "could not find expected ':'": "not `key: value`; is the colon or the space after it missing?",
    "mapping values are not allowed": "a `key: value` that does not fit here; indent it, or quote text that holds `: `",
}

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value with file and line; the line of a member of a mapping is the line of its key.

    `written` is the source text of an unquoted scalar, in which the value of a placeholder is parsed as YAML.
    """

    value: object = field(repr=False)
    file: str = ""
    line: int = 0
    written: str | None = field(default=None, repr=False)

    @property
    def location(self) -> str:
        """`file:line`, or the file alone without a line."""
        return f"{self.file}:{self.line}" if self.line else self.file


class UnreadableError(Exception):
    """The file cannot be used; `args` are line and message."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with dates as text, `1e-3` as a number, and limited nesting."""

    depth = 0
    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML reads it from the class
        first: [pair for pair in pairs if pair[0] != f"{TAG}timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        try:
            return super().compose_node(parent, index)  # type: ignore[arg-type]
        finally:
            self.depth -= 1


_Loader.add_implicit_resolver(
    f"{TAG}float", re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read(path: Path, shown: str) -> tuple[Node | None, list[Problem]]:
    """Return the top mapping of a YAML file or None, and its problems, in which the file is named `shown`."""
    try:
        text = _text(path)
        root = _compose(text)
    except UnreadableError as error:
        return None, [Problem(shown, error.args[0], "", error.args[1])]
    if root is None or root.tag == f"{TAG}null":
        return Node({}, shown, 1), []
    if not isinstance(root, MappingNode):
        line = root.start_mark.line + 1
        return None, [Problem(shown, line, "", "the file must hold `key: value` lines at its top")]
    builder = _Builder(shown)
    try:
        top = builder.build(root, 1, ())
    except UnreadableError as error:
        return None, [*builder.problems, Problem(shown, error.args[0], "", error.args[1])]
    return top, builder.problems


def scalar(text: str) -> Scalar:
    """Return the value of an unquoted YAML scalar: a number, boolean, null or text.

    Raises:
        ValueError: it has the form of a number that cannot be represented.
    """
    tag = _Loader("").resolve(ScalarNode, text.strip(), (True, False))  # type: ignore[no-untyped-call]
    value = _typed(ScalarNode(tag if tag in _SCALARS else f"{TAG}str", text.strip()))
    return text if isinstance(value, str) else value


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise UnreadableError(0, "is a folder, not a file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnreadableError(0, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_BYTES:
        raise UnreadableError(0, f"is larger than {MAX_BYTES // 1024} KiB; is it a configuration?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(raw.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    if match := Reader.NON_PRINTABLE.search(text):
        raise UnreadableError(_line(text, match.start()), "holds a NUL or control character: it is not text") from None
    return text


def _line(text: str, position: int) -> int:
    return len(_BREAK.findall(text, 0, position)) + 1


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax(error) from None
    except RecursionError:
        raise UnreadableError(loader.line + 1, "nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise UnreadableError(loader.line + 1, "is not YAML: a character or number that does not exist") from None
    finally:
        loader.dispose()


def _syntax(error: yaml.MarkedYAMLError) -> UnreadableError:
    problem = str(error.problem or error.context)
    message = next((hint for part, hint in _HINTS.items() if part in f"{error.context} {problem}"), None)
    # An unclosed bracket or quote is reported where it was opened, not where parsing stopped.
    opened = "stream" in problem or "could not find expected" in problem
    mark = error.context_mark if opened and error.context_mark else error.problem_mark
    return UnreadableError(mark.line + 1 if mark else 0, message or f"is not YAML: {problem}")


def _typed(node: ScalarNode) -> Scalar:
    if node.tag == f"{TAG}str":
        if NOT_TEXT.search(node.value):
            raise ValueError("holds a NUL or half a character; no value may")
        return str(node.value)
    if node.tag == f"{TAG}null":
        return None
    try:
        value: Scalar = yaml.constructor.SafeConstructor.yaml_constructors[node.tag](yaml.SafeLoader(""), node)
    except (ValueError, OverflowError, KeyError, IndexError):
        raise ValueError(f"is no {node.tag.removeprefix(TAG)} that can be held; if it is text, quote it") from None
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("is too large a number; if it is text, quote it")
    return value


class _Builder:
    """Converter of nodes of PyYAML to `Node`, which collects problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, line: int, path: tuple[str, ...]) -> Node | None:
        """Return the converted node, or None after a problem."""
        self._count += 1
        if self._count > MAX_NODES:
            raise UnreadableError(
                node.start_mark.line + 1, f"holds more than {MAX_NODES} values with its aliases followed"
            )
        if id(node) in self._open:
            return self._reject(line, path, "an alias that holds itself")
        self._open.add(id(node))
        try:
            return self._node(node, line, path)
        finally:
            self._open.discard(id(node))

    def _node(self, node: yaml.Node, line: int, path: tuple[str, ...]) -> Node | None:
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            try:
                return Node(_typed(node), self.file, line, None if node.style else node.value)
            except ValueError as error:
                return self._reject(line, path, str(error))
        if isinstance(node, SequenceNode) and node.tag == f"{TAG}seq":
            items = [self.build(item, item.start_mark.line + 1, (*path, str(i))) for i, item in enumerate(node.value)]
            return Node([item for item in items if item is not None], self.file, line)
        if isinstance(node, MappingNode) and node.tag == f"{TAG}map":
            return Node(self._members(node, path), self.file, line)
        # Only standard YAML tags are shown, because an unquoted ! may begin a password.
        name = f" such as `!!{node.tag.removeprefix(TAG)}`" if node.tag.startswith(TAG) else ""
        return self._reject(line, path, f"tags{name} are not allowed here; quote a text that begins with !")

    def _members(self, node: MappingNode, path: tuple[str, ...]) -> dict[str, Node]:
        members: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not yaml_keys.is_text(key, path):
                self._reject(line, path, yaml_keys.problem(key))
            elif key.value in lines:
                self._reject(line, (*path, key.value), f"set twice: here and on line {lines[key.value]}")
            else:
                lines[key.value] = line
                child = self.build(value, line, (*path, key.value))
                if child is not None:
                    members[key.value] = child
        return members

    def _reject(self, line: int, path: tuple[str, ...], message: str) -> Node | None:
        self.problems.append(Problem(self.file, line, ".".join(path), message))
        return None
