"""`make score`: score another file with a trained model, and print the path of the predictions."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from ai_workflow.config import environment as environment_variables
from ai_workflow.config import loader as configuration
from ai_workflow.config import project, variables
from ai_workflow.config.settings import FileSource, Settings
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.local import prefect_settings, run_report, server
from ai_workflow.local.run_report import Hints
from ai_workflow.local.stack.paths import StackPaths
from ai_workflow.prefect_errors import prefect_errors_wrapped
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.file_names import require_utf8
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs

VAR = Path("var")
_GLOB = frozenset("*?[")


class ScoreError(AiWorkflowError):
    """A file cannot be scored; nothing has run."""


def main(
    source: str,
    config: Path | None = None,
    environment: str | None = None,
    model: str = "latest",
    store_root: str | None = None,
) -> int:
    """Score a file, print trace, version and path of the predictions; return 1 if the flow failed.

    Args:
        source: file, glob, folder or URL in the format of `inference.source` of the pipeline, else of `source`.
        config: the pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: the name of a file `config/NAME.yaml`.
        model: alias or name of a version.
        store_root: the root of the store; store.root of the configuration if not given.

    Raises:
        AiWorkflowError: the configuration, file or version is invalid, or no server starts; nothing has run.
    """
    pipeline = str(config) if config else None
    stored = {"store.root": store_root.replace("${", "$${")} if store_root else {}
    loaded = configuration.load(pipeline, environment=environment, overrides=stored)
    environment_variables.check(os.environ)
    if StackPaths(VAR).running_state() is None:
        variables.check(loaded, os.environ, "make score")
    overrides = {**stored, **_override(loaded.settings, source)}
    settings = configuration.load(pipeline, environment=environment, overrides=overrides).settings
    hints = Hints(pipeline, environment, settings.store.root, store_root)
    _require_version(settings, model, hints)
    prefect_server = server.ensure(VAR)
    for name, value in prefect_settings.environment(prefect_server, settings, VAR).items():
        os.environ.setdefault(name, value)
    logs.set_brief()
    with prefect_errors_wrapped():
        state = asyncio.run(_flow(pipeline, environment, model, overrides))
    store = Store(settings.store.root)
    run_report.print_trace(store, state)
    if not state.is_completed():
        print(run_report.failure(state.message, hints), file=sys.stderr)
        return 1
    print(_summary(store, state.data.result, model))
    return 0


async def _flow(pipeline: str | None, environment: str | None, model: str, overrides: dict[str, Any]) -> Any:
    return await project.module("flows.scoring").scoring(
        config=pipeline, environment=environment, version=model, overrides=overrides, return_state=True
    )


def _override(settings: Settings, source: str) -> dict[str, Any]:
    """Return the override of the path of the source that the scoring flow reads.

    Raises:
        ScoreError: the source reads no file, or no existing file is given.
    """
    key = "inference.source" if settings.inference.source else "source"
    declared = settings.inference.source or settings.source
    if not source:
        raise ScoreError("SOURCE is missing. Pass a file: ai-workflow score new.csv, or make score SOURCE=new.csv")
    if not isinstance(declared, FileSource):
        raise ScoreError(
            f"{key} of the pipeline {settings.pipeline} is of kind {declared.kind}, which reads no file. "
            "Describe the format of the file in the pipeline file, such as inference.source: {kind: csv, path: new.csv}"
        )
    # A `${` would be a placeholder of the configuration.
    return {f"{key}.path": _absolute(source).replace("${", "$${")}


def _absolute(source: str) -> str:
    """Return the absolute form of a path, because overrides are relative to the project; URLs are unchanged."""
    require_utf8(source, "SOURCE")
    if "://" in source and not source.startswith("file://"):
        return source
    path = Path(source.removeprefix("file://")).expanduser().absolute()
    if not path.exists() and not _GLOB & set(source):
        raise ScoreError(f"{path} does not exist. Correct SOURCE, or put the file there")
    return str(path)


def _require_version(settings: Settings, model: str, hints: Hints) -> None:
    """Raise if there is no such version; the flow itself falls back to `stable` from a corrupt version."""
    registry = Registry(Store(settings.store.root), settings.models)
    if not registry.versions():
        folder = registry.store.url(registry.folder)
        raise ScoreError(f"there is no model version in {folder} yet. Train one: {hints.make('run')}")
    try:
        registry.get(model)
    except StoreError:
        return


def _summary(store: Store, scored: dict[str, Any], model: str) -> str:
    """Return the last lines: version, number of rows, and path of the predictions."""
    requested = "" if model == scored["version"] else f" ({model} was requested)"
    lines = [
        ("version", f"{scored['version']}{requested}"),
        ("rows", str(scored["rows"])),
        *([("rejected", f"{scored['rejected']}: {store.url(scored['quarantine'])}")] if scored["rejected"] else []),
        ("predictions", f"{store.url(scored['folder'])}/part-*.parquet" if scored["rows"] else "none: no row to score"),
        ("columns", "see docs/pipelines.md, Predictions"),
    ]
    return f"\n{run_report.table(lines)}"
