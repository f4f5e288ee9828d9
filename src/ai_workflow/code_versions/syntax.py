"""What a source file computes, read off its syntax tree: no comments, docstrings, positions or imports."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

MARKER = "IN_CACHE_KEY"
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+(?=:|$)")
_FILE_NAME = re.compile(r"(?!/)[^\n\0]{0,250}\.\w{1,12}")
# `kind` is the u of u"text".
_IGNORED = {"kind", "type_comment", "type_ignores"}


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One name that a file imports: `from <module> import <attribute> as <bound>`; without attribute, the module."""

    bound: str
    level: int
    module: str
    attribute: str = ""


@dataclass(slots=True)
class Syntax:
    """The syntax of a file: a digest of its statements, and apart from them all that names other files.

    Texts such as `package.module`, which may name a module, are in `dotted` and not in the digest, in their order.
    """

    digest: str = ""
    is_empty: bool = True
    is_marked: bool = False
    imports: list[Import] = field(default_factory=list)
    # The imports at the top level, by the name that they bind: what `from this import name` may mean.
    exported: dict[str, Import] = field(default_factory=dict)
    dotted: list[str] = field(default_factory=list)
    # Literal arguments of import_module and __import__.
    called: list[str] = field(default_factory=list)
    file_names: set[str] = field(default_factory=set)


@lru_cache(maxsize=4096)
def read(source: bytes) -> Syntax:
    """Return the syntax of a source text.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is not Python, or is nested too deeply.
    """
    found = Syntax()
    tree = ast.parse(source)
    tokens = list(_tokens(tree, found))
    found.is_empty = not tokens
    found.digest = hashlib.sha256("\0".join(tokens).encode("utf-8", "backslashreplace")).hexdigest()
    is_lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    for node in tree.body:
        # A module-level `__getattr__` imports on first use what the block for type checkers declares.
        is_declared = is_lazy and isinstance(node, ast.If) and _is_for_types(node.test)
        for statement in node.body if is_declared and isinstance(node, ast.If) else [node]:
            found.exported |= {each.bound: each for each in _imports(statement)}
        found.is_marked |= _is_marker(node)
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    text: str


def _tokens(tree: ast.Module, found: Syntax) -> Iterator[str]:
    """Yield the tree in an order that stands for it alone; without recursion, since expressions may be deep."""
    stack: list[Any] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        if isinstance(node, _Token):
            yield node.text
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.imports += _imports(node)
        elif isinstance(node, ast.Constant):
            yield _constant(node.value, found)
        elif isinstance(node, ast.AST):
            stack += reversed(_parts(node))
            _look_for_names(node, found)
        elif isinstance(node, list):
            stack += [_Token("]"), *reversed(node), _Token("[")]
        else:
            yield repr(node)


def _parts(node: ast.AST) -> list[Any]:
    """Return what stands for a node: nothing for a docstring, of an import for type checkers what is done else."""
    if isinstance(node, ast.If) and _is_for_types(node.test):
        return node.orelse
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return []
    parts: list[Any] = [_Token(type(node).__name__)]
    for name in node._fields:
        value = getattr(node, name, None)
        # Fields that newer versions of Python added are empty in older code.
        if name not in _IGNORED and value is not None and value != []:
            parts += [_Token(name), value]
    return [*parts, _Token(")")]


def _constant(value: Any, found: Syntax) -> str:
    if not isinstance(value, str):
        return hex(value) if type(value) is int else repr(value)
    if match := _DOTTED.match(value):
        found.dotted.append(match[0])
    if _FILE_NAME.fullmatch(value):
        found.file_names.add(value)
    return f"{'…' if match else ''}{value[match.end() if match else 0 :]!r}"


def _look_for_names(node: ast.AST, found: Syntax) -> None:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in ("import_module", "__import__"):
            given = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "name")]
            found.called += [
                each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
        case ast.BinOp(op=ast.Div(), right=ast.Constant(value=str(last))):
            parts, left = [last], node.left
            while isinstance(left, ast.BinOp) and isinstance(left.right, ast.Constant):
                parts.insert(0, str(left.right.value))
                left = left.left
            found.file_names.add("/".join(parts))


def _imports(node: ast.AST) -> list[Import]:
    if isinstance(node, ast.ImportFrom):
        return [Import(alias.asname or alias.name, node.level, node.module or "", alias.name) for alias in node.names]
    if isinstance(node, ast.Import):
        return [Import(alias.asname or alias.name.partition(".")[0], 0, alias.name) for alias in node.names]
    return []


def _is_for_types(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def _is_marker(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=False)):
            return name == MARKER
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=False)):
            return name == MARKER
    return False
