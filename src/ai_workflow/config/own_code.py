"""Check of the dotted paths in the settings: the module exists and defines the name. No code is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ai_workflow.code_versions.modules import Finder, Module
from ai_workflow.config.merge import at
from ai_workflow.config.problems import Problem
from ai_workflow.config.reader import Node
from ai_workflow.config.schema import KeyPath
from ai_workflow.config.settings import CLASS_METRICS, METRICS, OwnSource, Settings
from ai_workflow.config.settings.chat import KINDS
from ai_workflow.config.settings.training import TRAINERS
from ai_workflow.plugins import names, search_path
from ai_workflow.plugins.names import CodePath


def problems(settings: Settings, tree: Node) -> Iterator[Problem]:
    """Yield a problem for each key that names code which is not there."""
    for key, path in _paths(settings):
        if message := _message(path):
            # A stage without options is a text, not a mapping with a kind.
            shown = key[:-1] if at(tree, key) is None and at(tree, key[:-1]) else key
            node = at(tree, shown) or tree
            yield Problem(node.file, node.line, ".".join(map(str, shown)), message)


def _paths(settings: Settings) -> Iterator[tuple[KeyPath, CodePath]]:
    for key, group, name in _names(settings):
        if path := names.path(group, name):
            yield key, path


def _names(settings: Settings) -> Iterator[tuple[KeyPath, names.Group, str]]:
    """Yield the key, the group and the name of each value that names own code."""
    sources = {
        ("source",): settings.source,
        ("inference", "source"): settings.inference.source,
        ("evaluation", "source"): settings.evaluation.source,
    }
    yield from (
        ((*key, "kind"), "sources", source.kind) for key, source in sources.items() if isinstance(source, OwnSource)
    )
    yield from (
        (("stages", "after", "data_loader", number, "kind"), "stages", added.kind)
        for number, added in enumerate(settings.stages.after.data_loader)
    )
    if settings.trainer.kind not in TRAINERS:
        yield ("trainer", "kind"), "trainers", settings.trainer.kind
    for number, item in enumerate(settings.features.derive):
        if isinstance(item, str):
            yield ("features", "derive", number), "features", item
    if settings.metric not in METRICS[settings.task]:
        yield ("evaluate", "metric"), "metrics", settings.metric
    of_classes = [name for name in settings.evaluate.per_class if name not in CLASS_METRICS]
    yield from ((("evaluate", "per_class", name), "metrics", name) for name in of_classes)
    yield from (
        (("evaluate", "metrics", number), "metrics", text) for number, text in enumerate(settings.evaluate.metrics)
    )
    kinds = [channel.kind or "" for channel in settings.chat]
    yield from ((("chat", number, "kind"), "channels", kind) for number, kind in enumerate(kinds) if kind not in KINDS)


def _message(path: CodePath) -> str | None:
    search_path.extend()
    module = Finder().find(path.module)
    if module is None:
        folders = ", ".join(search_path.folders())
        return f"{path}: there is no module {path.module} in {folders}; correct the name, or put the file there"
    if (known := _defined(module)) is None or path.name in known:
        return None
    public = ", ".join(sorted(name for name in known if not name.startswith("_"))) or "nothing"
    return f"{path}: {module.file or module.name} does not define {path.name}; it defines {public}"


def _defined(module: Module) -> set[str] | None:
    """Return the names that a module defines at its top level; None if they are not certain without running it."""
    if module.source is None and module.file:
        return None
    try:
        body = ast.parse(module.source or b"").body
    except (SyntaxError, ValueError, RecursionError):
        return None
    known: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            known.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            known.update(alias.asname or alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            known.update(target.id for target in targets if isinstance(target, ast.Name))
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return None
    return None if known & {"*", "__getattr__"} else known
