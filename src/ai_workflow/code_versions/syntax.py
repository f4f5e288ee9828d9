"""Digest of the syntax tree of a source file, without comments, docstrings, positions and imports."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

MARKER = "IN_CACHE_KEY"
_PARSE_ATTEMPTS = 10
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
    """Digest of the statements of a file, and separately its references to other files.

    Texts such as `package.module`, which may name a module, are in `dotted` and not in the digest, in their order.
    """

    digest: str = ""
    is_empty: bool = True
    is_marked: bool = False
    imports: list[Import] = field(default_factory=list)
    # Bound name -> import at the top level, to resolve `from this_module import name`.
    exported: dict[str, Import] = field(default_factory=dict)
    dotted: list[str] = field(default_factory=list)
    # Literal arguments of import_module and __import__.
    called: list[str] = field(default_factory=list)
    file_names: set[str] = field(default_factory=set)


@lru_cache(maxsize=4096)
def read(source: bytes) -> Syntax:
    """Return the syntax of a source text.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the text is not Python, or is nested too deeply.
    """
    result = Syntax()
    tree = _parse(source)
    tokens = list(_tokens(tree, result))
    result.is_empty = not tokens
    result.digest = hashlib.sha256("\0".join(tokens).encode("utf-8", "backslashreplace")).hexdigest()
    is_lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    for node in tree.body:
        # A module-level `__getattr__` imports on first use what the block for type checkers declares.
        is_declared = is_lazy and isinstance(node, ast.If) and _is_for_types(node.test)
        for statement in node.body if is_declared and isinstance(node, ast.If) else [node]:
            result.exported |= {each.bound: each for each in _imports(statement)}
        result.is_marked |= _is_marker(node)
    return result


def _parse(source: bytes) -> ast.Module:
    """Return the syntax tree; parse again if another thread disturbed the parser."""
    for _ in range(_PARSE_ATTEMPTS - 1):
        try:
            return ast.parse(source)
        except SystemError:
            # CPython counts the depth of the tree for all threads together: while garbage collection lets another
            # thread parse, the counts of both are wrong, and "AST constructor recursion depth mismatch" is raised.
            continue
    return ast.parse(source)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str


def _tokens(tree: ast.Module, result: Syntax) -> Iterator[str]:
    """Yield the tree as unambiguous tokens; iterative, because expressions may be nested deeply."""
    stack: list[Any] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        if isinstance(node, _Token):
            yield node.text
        elif isinstance(node, ast.Import | ast.ImportFrom):
            result.imports += _imports(node)
        elif isinstance(node, ast.Constant):
            yield _constant(node.value, result)
        elif isinstance(node, ast.AST):
            stack += reversed(_parts(node))
            _collect_names(node, result)
        elif isinstance(node, list):
            stack += [_Token("]"), *reversed(node), _Token("[")]
        else:
            yield repr(node)


def _parts(node: ast.AST) -> list[Any]:
    """Return the parts of a node to digest: none of a docstring, and only the `else` of a type-checking block."""
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


def _constant(value: Any, result: Syntax) -> str:
    if not isinstance(value, str):
        return hex(value) if type(value) is int else repr(value)
    if match := _DOTTED.match(value):
        result.dotted.append(match[0])
    if _FILE_NAME.fullmatch(value):
        result.file_names.add(value)
    return f"{'…' if match else ''}{value[match.end() if match else 0 :]!r}"


def _collect_names(node: ast.AST, result: Syntax) -> None:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in ("import_module", "__import__"):
            names = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "name")]
            result.called += [
                each.value for each in names if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
        case ast.BinOp(op=ast.Div(), right=ast.Constant(value=str(last))):
            parts, left = [last], node.left
            while isinstance(left, ast.BinOp) and isinstance(left.right, ast.Constant):
                parts.insert(0, str(left.right.value))
                left = left.left
            result.file_names.add("/".join(parts))


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
