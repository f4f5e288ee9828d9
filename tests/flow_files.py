"""What a flow file may hold, checked on its text; the direction of imports is checked by import-linter."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

PACKAGE = "ai_workflow"
FOLDERS = ("flows", "deploy", "monitoring", "blocks", "tests", "benchmarks")
_METRICS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum", "CollectorRegistry"}
_CONSTANT_CALLS = {
    "getLogger", "get_logger", "logger", "task", "flow", "with_options", "configure", "Path", "frozenset", "tuple",
    "timedelta", "TypeVar", "MappingProxyType", "compile",
}  # fmt: skip


def flow_violations(flows: Path) -> list[str]:
    """Return every flow file with a name that hides another module, or with state at module level."""
    found = []
    for path in sorted(flows.glob("*.py")):
        if problem := _hides(path.stem, flows):
            found.append(f"{path.name}: its name hides {problem}")
        tree = ast.parse(path.read_bytes())
        found += [f"{path.name}:{node.lineno}: {problem}" for node in tree.body if (problem := _state(node))]
    return found


def _hides(stem: str, flows: Path) -> str | None:
    if stem == "__init__":
        return None
    stages = {path.stem for path in (flows.parent / "src" / PACKAGE / "stages").glob("*.py")}
    if stem in FOLDERS or stem == PACKAGE:
        return "a top-level folder or the package"
    if stem in stages:
        return "a stage module"
    if stem in sys.stdlib_module_names:
        return "a module of the standard library"
    if stem in packages_distributions():
        return f"an installed package ({packages_distributions()[stem][0]})"
    return None


def _state(node: ast.stmt) -> str | None:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return None
        case ast.Expr(value=ast.Constant()):
            return None
        case ast.If(test=test) if _guard(test):
            return None
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return None
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return _value_problem(value)
        case _:
            return "work at import; move it into a function"


def _guard(test: ast.expr) -> bool:
    return ast.unparse(test) in {"__name__ == '__main__'", "TYPE_CHECKING"}


def _value_problem(value: ast.expr) -> str | None:
    if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name | ast.Attribute):
        return None  # a type alias
    for node in ast.walk(value):
        if isinstance(
            node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp
        ):
            return "a mutable value at module level; state lives in the installed package"
        if isinstance(node, ast.Call) and (name := _name(node.func)) not in _CONSTANT_CALLS:
            if name in _METRICS:
                return f"a metric ({name}); metrics are declared in {PACKAGE}.metrics"
            return f"{name}(...) runs at import; move it into a function"
    return None


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)
