"""Digest of the syntax tree of a source file, without comments, docstrings, positions and imports."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

MARKER = "IN_CACHE_KEY"
_PARSE_ATTEMPTS = 10
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+(?=:|$)")
_FILE_NAME = re.compile(r"(?!/)[^\n\0]{0,250}\.\w{1,12}")
# `kind` is the u of u"text"; the context of a name, such as Load, follows from its place in the tree.
_IGNORED = {"kind", "type_comment", "type_ignores", "ctx"}


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


def read(source: bytes) -> Syntax:
    """Return the syntax of a source text.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the text is not Python, or is nested too deeply.
    """
    result = Syntax()
    tree = _parse(source)
    tokens = _tokens(tree, result)
    result.is_empty = tokens == ["0"]
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


def _tokens(tree: ast.Module, result: Syntax) -> list[str]:
    """Return the tree as unambiguous tokens; iterative, because expressions may be nested deeply.

    A node is its class and its fields, a list is its length, and children follow in a fixed order, so that the tokens
    determine the tree. `result` gets the imports and names, which are no tokens.
    """
    tokens: list[str] = []
    stack: list[Any] = _counted(tree.body, tokens, result)
    while stack:
        node = stack.pop()
        kind: type = type(node)
        fields = _fields(kind)
        if kind is ast.Constant:
            tokens.append(_constant(node.value, result))
            continue
        if fields is None:
            tokens.append(repr(node))
            continue
        if kind is ast.Call or kind is ast.BinOp:
            _collect_names(node, result)
        tokens.append(kind.__name__)
        for name in fields:
            value = getattr(node, name, None)
            # Fields that newer versions of Python added are empty in older code.
            if value is None or value == []:
                continue
            tokens.append(name)
            if isinstance(value, list):
                stack += _counted(value, tokens, result)
            else:
                stack.append(value)
    return tokens


@cache
def _fields(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a class of nodes that can change what the code does, None for other values."""
    return tuple(name for name in kind._fields if name not in _IGNORED) if issubclass(kind, ast.AST) else None


def _counted(items: list[Any], tokens: list[str], result: Syntax) -> list[Any]:
    """Return the items without imports, docstrings and blocks for type checkers; a token has their number."""
    kept: list[Any] = []
    for item in items:
        kind = type(item)
        if kind is ast.Import or kind is ast.ImportFrom:
            result.imports += _imports(item)
        elif kind is ast.If and _is_for_types(item.test):
            kept += _counted(item.orelse, [], result)
        elif not (kind is ast.Expr and type(item.value) is ast.Constant and type(item.value.value) is str):
            kept.append(item)
    tokens.append(str(len(kept)))
    return kept


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
