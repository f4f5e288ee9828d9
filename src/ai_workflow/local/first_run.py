"""`make run`: a local Prefect server, one training and one scoring, and a summary with the next commands."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ai_workflow.config import environment as environment_variables
from ai_workflow.config import loader as configuration
from ai_workflow.config import project, variables
from ai_workflow.config.settings import Settings
from ai_workflow.evaluation import model_card, scores
from ai_workflow.local import prefect_settings, run_report, server
from ai_workflow.local.run_report import Hints
from ai_workflow.local.stack.paths import StackPaths
from ai_workflow.prefect_errors import prefect_errors_wrapped
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs

VAR = Path("var")
# The others are in the model card.
_SHOWN_METRICS = ("accuracy", "auc", "log_loss", "mae", "rmse", "r2")


def main(config: Path | None = None, environment: str | None = None, store_root: str | None = None) -> int:
    """Run a pipeline from its source to stored predictions and print a summary; return 1 if a flow failed.

    Args:
        config: the pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: the name of a file `config/NAME.yaml`.
        store_root: the root of the store; store.root of the configuration if not given.

    Raises:
        AiWorkflowError: the configuration is invalid, or the server does not start; nothing has run.
    """
    pipeline = str(config) if config else None
    overrides = {"store.root": store_root.replace("${", "$${")} if store_root else {}
    loaded = configuration.load(pipeline, environment=environment, overrides=overrides)
    environment_variables.check(os.environ)
    settings = loaded.settings
    # With a running stack, the login and key in the environment belong to the server of the stack.
    if StackPaths(VAR).running_state() is None:
        variables.check(loaded, os.environ, "make run")
    prefect_server = server.ensure(VAR)
    for name, value in prefect_settings.environment(prefect_server, settings, VAR).items():
        os.environ.setdefault(name, value)
    logs.set_brief()
    print(f"Prefect UI: {prefect_server.ui_url}/runs")
    store = Store(settings.store.root)
    hints = Hints(pipeline, environment, settings.store.root, store_root)
    with prefect_errors_wrapped():
        outcomes = asyncio.run(_flows(pipeline, environment, overrides, store))
    if not all(state.is_completed() for state in outcomes):
        print(run_report.failure(outcomes[-1].message, hints), file=sys.stderr)
        return 1
    results = [state.data.result for state in outcomes]
    print(_summary(store, results, settings, hints))
    return 0


async def _flows(pipeline: str | None, environment: str | None, overrides: dict[str, str], store: Store) -> list[Any]:
    """Run both flows, print the trace of each when it ends, and return their states."""
    outcomes: list[Any] = []
    for flow in (project.module("flows.training").training, project.module("flows.scoring").scoring):
        outcomes.append(await flow(pipeline, environment, overrides=overrides or None, return_state=True))
        run_report.print_trace(store, outcomes[-1])
        if not outcomes[-1].is_completed():
            break
    return outcomes


def _summary(store: Store, results: list[dict[str, Any]], settings: Settings, hints: Hints) -> str:
    trained, scored = results
    report = json.loads(store.read(f"{trained['folder']}/card.json"))
    gate = report["gate"]
    figures = ", ".join(
        f"{name} {scores.format_score(value)}"
        for name, value in report["scores"].items()
        if isinstance(value, float) and name in (*_SHOWN_METRICS, gate["metric"])
    )
    baseline = f"baseline: {gate['metric']} {scores.format_score(gate['baseline'])}"
    lines = [
        ("metrics", f"{figures} on {report['holdout_rows']} rows held out ({baseline})"),
        ("gate", f"{gate['metric']} {scores.format_score(report['scores'][gate['metric']])}: {gate['verdict']}"),
        *(("WARN", text) for text in report["warnings"]),
        *([("left out", model_card.unused_columns(report))] if report.get("unused_columns") else []),
        ("version", f"{trained['version']} in {store.url(trained['folder'])}"),
        ("model card", store.url(f"{trained['folder']}/card.md")),
        ("predictions", f"{scored['rows']} in {store.url(scored['folder'])}"),
        *_next(settings, hints),
        ("look back", f"{hints.trace('--last')} | --failed | --list"),
        ("stop", hints.stop),
    ]
    return f"\n{run_report.table(lines)}"


def _next(settings: Settings, hints: Hints) -> list[tuple[str, str]]:
    """Return the next commands with their explanations, aligned."""
    commands = [
        ("again", hints.make("run"), "every stage is CACHED"),
        ("serve", hints.make("serve"), "answers over HTTP, see docs/serving.md"),
        ("all of it", hints.make("up"), "worker, service, alerts, schedules: see docs/stack.md"),
    ]
    if hints.pipeline is None and settings.source.kind == "sample":
        command_for_own_data = replace(hints, pipeline="pipeline.yaml").make("run")
        commands.append(("your data", command_for_own_data, "config/examples/credit.yaml is one to start from"))
    width = max(len(command) for _, command, _ in commands)
    return [(name, f"{command:<{width}}  {explanation}") for name, command, explanation in commands]
