"""`make run`: a local Prefect server, one training and one scoring, and then what there is to see."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

from ai_workflow import config as configuration
from ai_workflow import journal
from ai_workflow.prefect_answers import explain
from ai_workflow.settings import Settings
from ai_workflow.store import Store
from deploy import prefect_settings, server

VAR = Path("var")


def main(config: Path | None = None, environment: str | None = None) -> int:
    """Run a pipeline from its source to stored predictions and print what became of it; 1 if a flow failed.

    Raises:
        AiWorkflowError: the configuration is wrong, or the server does not come up; nothing has run.
    """
    pipeline = str(config) if config else None
    settings = configuration.load(pipeline, environment=environment).settings
    reached = server.ensure(VAR)
    for name, value in prefect_settings.environment(reached, settings, VAR).items():
        os.environ.setdefault(name, value)
    try:
        outcomes = asyncio.run(_flows(pipeline, environment))
    except httpx.HTTPStatusError as error:
        raise server.ServerError(explain(error)) from error
    store = Store(settings.store.root)
    for trace_id in journal.Journal(store).trace_ids()[: len(outcomes)][::-1]:
        print("\n" + journal.render(journal.Journal(store).read(trace_id)))
    if not all(state.is_completed() for state in outcomes):
        print(f"\nerror: {outcomes[-1].message}", file=sys.stderr)
        return 1
    results = [state.data.result for state in outcomes]
    print(_summary(settings, store, results, reached, pipeline))
    return 0


async def _flows(pipeline: str | None, environment: str | None) -> list[Any]:
    from flows.scoring import scoring
    from flows.training import training

    outcomes = [await training(pipeline, environment, return_state=True)]
    if outcomes[0].is_completed():
        outcomes.append(await scoring(pipeline, environment, return_state=True))
    return outcomes


def _summary(
    settings: Settings, store: Store, results: list[dict[str, Any]], reached: server.Server, pipeline: str | None
) -> str:
    trained, scored = results
    report = json.loads(store.read(f"{trained['folder']}/card.json"))
    figures = ", ".join(f"{name} {value:.4f}" for name, value in report["scores"].items() if isinstance(value, float))
    constant = report["baseline"][settings.metric]
    own = f" CONFIG={pipeline}" if pipeline else ""
    lines = [
        (
            "metrics",
            f"{figures} on {report['holdout_rows']} rows held out (constant answer: {settings.metric} {constant:.4f})",
        ),
        ("version", f"{trained['version']} in {store.url(trained['folder'])}"),
        ("model card", store.url(f"{trained['folder']}/card.md")),
        ("predictions", f"{scored['rows']} in {store.url(scored['folder'])}"),
        ("journal", store.url(journal.FOLDER)),
        ("Prefect UI", f"{reached.ui_url}/runs"),
        ("again", f"make run{own}                    every stage is CACHED"),
        ("serve", f"make serve{own}                  answers over HTTP, see docs/serving.md"),
        ("all of it", f"make up{own}                     worker, service, alerts, schedules: see docs/stack.md"),
        ("your data", "make run CONFIG=pipeline.yaml  config/examples/credit.yaml is one to start from"),
        ("look back", ".venv/bin/ai-workflow trace --last | --failed | --list"),
        ("stop", "make stop"),
    ]
    return "\n" + "\n".join(f"{name:>12}  {value}" for name, value in lines)
