"""`ai-workflow deploy`: set up a Prefect server from prefect.yaml and the configuration."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from ai_workflow.cli.common_options import ConfigOptions
from ai_workflow.config import layers, project, project_pipelines, startup, variables
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import prefect_settings, server
from ai_workflow.provisioning.bootstrap import BootstrapReport, run
from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.links import Links
from ai_workflow.provisioning.ownership import OwnershipError
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines

_DEFAULTS = ConfigOptions()


def deploy(
    file: Path | None = None,
    *,
    options: ConfigOptions = _DEFAULTS,
    git: str | None = None,
    ref: str | None = None,
    git_token_block: str | None = None,
    relay_url: str | None = None,
    prune: bool = False,
    take_over: bool = False,
    exclusive: bool = False,
) -> int:
    """Set up work pool, queues, variables, blocks, deployments and automations on the server of PREFECT_API_URL.

    The exit code is 2 if nothing was changed because of an error, and 1 if only a part was set up.

    Args:
        file: Path of prefect.yaml; that of the project if not given.
        options: Default pipeline and environment of the deployments.
        git: URL of a git repository that workers pull the code from; this folder if not given.
        ref: Branch of the repository.
        git_token_block: Secret block with an access token for the repository.
        relay_url: URL at which the server reaches the relay; deploy.relay_url if not given.
        prune: Remove deployments and automations of this project that are no longer in the file.
        take_over: Replace the owner of this environment, or else the first owner of the server.
        exclusive: Reject a server that another environment or project owns, instead of deploying beside it.
    """
    report = BootstrapReport()
    file = file or project.path("prefect.yaml")
    try:
        loaded = options.loaded
        pipelines = project_pipelines.load(file.resolve().parent, environment=options.environment)
        for each in (loaded, *pipelines.values()):
            variables.check(each, os.environ, "bootstrap")
        report.warnings += startup.deployments_without_effect(loaded, os.environ)
        settings = _with_relay(loaded.settings, relay_url)
        source = _source(file, options, settings, git, ref, git_token_block)
        prefect_settings.require_url(Path("var"))
        asyncio.run(run(file, settings, source, report, prune=prune, take_over=take_over, exclusive=exclusive))
    except OwnershipError:
        raise
    except AiWorkflowError as error:
        if not report.has_begun:
            raise
        report.problems.append(str(error))
    return _print(report)


def _with_relay(settings: Settings, url: str | None) -> Settings:
    if not url:
        return settings
    return settings.model_copy(update={"deploy": settings.deploy.model_copy(update={"relay_url": url})})


def _source(
    file: Path, options: ConfigOptions, settings: Settings, git: str | None, ref: str | None, token_block: str | None
) -> Source:
    """Return the code that the deployments run, with their pipeline and environment."""
    return Source(
        folder=file.resolve().parent,
        git=git,
        ref=ref,
        token_block=token_block,
        parameters=_parameters(options, from_git=git is not None),
        pipeline=settings.pipeline,
        environment=settings.environment,
        environments=layers.environments(project.root()),
        name=project.name(file.resolve().parent / "prefect.yaml"),
        links=Links(server.ui_path(os.environ), settings.monitoring.grafana_url),
    )


def _parameters(options: ConfigOptions, *, from_git: bool) -> dict[str, str]:
    """Return the default parameters of the deployments; with --git, a pipeline file is a path in the repository."""
    config = options.pipeline if from_git or not options.pipeline else Path(options.pipeline).resolve()
    parameters = {"config": str(config or ""), "environment": options.environment or ""}
    return {name: value for name, value in parameters.items() if value}


def _print(report: BootstrapReport) -> int:
    """Print what was changed and what failed, and return the exit code."""
    if report.lines or not report.problems:
        print("\n".join(report.lines or ["nothing changed"]))
    for name in report.orphans:
        print(f"{name} is no longer in prefect.yaml. Pass --prune to remove it", file=sys.stderr)
    for warning in report.warnings:
        print(scrub(f"warning: {warning}"), file=sys.stderr)
    for problem in report.problems:
        print(escape_lines(scrub(f"error: {problem}")), file=sys.stderr)
    return 1 if report.problems else 0
