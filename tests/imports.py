"""Who may import whom, and what a flow file may hold: the rules, checked on the text of the files."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

PACKAGE = "ai_workflow"
ROOMS = ("flows", "deploy", "monitoring", "blocks")
FOLDERS = (*ROOMS, "tests", "benchmarks")
# Inside the package each layer may import those before it; a module that is not named here is a leaf.
LAYERS = ("leaf", "trainers", "model_process", "verification", "stages", "serving", "cli")
_METRICS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum", "CollectorRegistry"}
_CONSTANT_CALLS = {
    "getLogger", "get_logger", "logger", "task", "flow", "with_options", "configure", "Path", "frozenset", "tuple",
    "timedelta", "TypeVar", "MappingProxyType", "compile",
}  # fmt: skip


def violations(root: Path) -> list[str]:
    """Return every breach of the direction of imports under a repository's root."""
    found = []
    for path in _sources(root):
        here = _module(root, path)
        for line, imported in _imports(ast.parse(path.read_bytes()), here, path.name == "__init__.py"):
            if problem := _breach(here, imported):
                found.append(f"{path.relative_to(root)}:{line}: {here} imports {imported}: {problem}")
    return found


def flow_violations(flows: Path) -> list[str]:
    """Return every flow file with a name that hides another module, or with state at module level."""
    found = []
    for path in sorted(flows.glob("*.py")):
        if problem := _hides(path.stem, flows):
            found.append(f"{path.name}: its name hides {problem}")
        tree = ast.parse(path.read_bytes())
        found += [f"{path.name}:{node.lineno}: {problem}" for node in tree.body if (problem := _state(node))]
    return found


def _sources(root: Path) -> Iterator[Path]:
    for folder in ("src", *ROOMS):
        yield from sorted((root / folder).rglob("*.py"))


def _module(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    parts = parts[1:] if parts[0] == "src" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST, here: str, is_package: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, here, is_package)
            # `from a import b`: b may be a module or a name of a.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            yield node.lineno, name


def _base(node: ast.ImportFrom, here: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = here.split(".")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, node.module] if node.module else parts)


def _imported_by_call(node: ast.Call) -> str | None:
    if _name(node.func) not in {"import_module", "__import__"} or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _breach(here: str, imported: str) -> str | None:
    room, target = here.partition(".")[0], imported.partition(".")[0]
    if room == PACKAGE:
        if target == "prefect" or target.startswith("prefect_"):
            return "the workflow does not know Prefect"
        if target in FOLDERS:
            return "the package knows no top-level folder"
        if target == PACKAGE and _layer(imported) > _layer(here):
            return f"{LAYERS[_layer(here)]} may not import {LAYERS[_layer(imported)]}"
    if room in {"monitoring", "blocks"} and target == "flows":
        return f"{room} does not know the flows"
    if target in {"tests", "benchmarks"}:
        return "only tests import tests"
    return None


def _layer(module: str) -> int:
    name = module.split(".")[1] if "." in module else ""
    name = name.partition("_")[0] if name.startswith("cli_") else name
    return LAYERS.index(name) if name in LAYERS else 0


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
