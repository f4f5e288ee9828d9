"""`ai-workflow deploy`: make a Prefect server what prefect.yaml and the configuration declare."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from ai_workflow.config import layers, loader, project, variables
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import prefect_settings, server
from ai_workflow.provisioning.bootstrap import Done, run
from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.links import Links
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines


def deploy(
    file: Path | None = None,
    *,
    pipeline: str | None = None,
    environment: str | None = None,
    git: str | None = None,
    ref: str | None = None,
    git_token_block: str | None = None,
    relay_url: str | None = None,
    prune: bool = False,
    take_over: bool = False,
) -> int:
    """Set up work pool, queues, variables, blocks, deployments and automations on the server of PREFECT_API_URL.

    Args:
        file: a prefect.yaml; that of the project if not given.
        pipeline: pipeline file of every deployment that names no other; that of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies to them.
        git: address of a repository that workers pull the code from; else they use this folder.
        ref: its branch.
        git_token_block: a Secret block with an access token for it.
        relay_url: where the server reaches the relay, if not at deploy.relay_url.
        prune: remove deployments and automations of this project that the file does not have any more.
        take_over: replace the pipeline, environment or project that the server belongs to.
    """
    done = Done()
    file = file or project.path("prefect.yaml")
    try:
        loaded = loader.load(pipeline, environment=environment)
        variables.check(loaded, os.environ, "bootstrap")
        settings = loaded.settings
        named_file = str(Path(pipeline).resolve()) if pipeline and git is None else pipeline
        given = {name: value for name, value in (("config", named_file), ("environment", environment)) if value}
        named = settings.pipeline, settings.environment
        links = Links(server.ui_path(os.environ), settings.monitoring.grafana_url)
        environments = layers.environments(project.root())
        source = Source(file.resolve().parent, git, ref, git_token_block, given, *named, environments, links)
        if relay_url:
            of_deploy = settings.deploy.model_copy(update={"relay_url": relay_url})
            settings = settings.model_copy(update={"deploy": of_deploy})
        prefect_settings.require_url(Path("var"))
        asyncio.run(run(file, settings, source, done, prune=prune, take_over=take_over))
    except AiWorkflowError as error:
        done.problems.append(str(error))
    return _say(done)


def _say(done: Done) -> int:
    if done.lines or not done.problems:
        print("\n".join(done.lines or ["nothing changed"]))
    for name in done.left:
        print(f"{name} is not in prefect.yaml any more: --prune removes it", file=sys.stderr)
    for warning in done.warnings:
        print(scrub(f"warning: {warning}"), file=sys.stderr)
    for problem in done.problems:
        print(escape_lines(scrub(f"error: {problem}")), file=sys.stderr)
    return 1 if done.problems else 0
