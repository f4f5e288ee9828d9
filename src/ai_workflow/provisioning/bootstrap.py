"""Set-up of a Prefect server for `ai-workflow deploy`, from prefect.yaml and the configuration.

It is idempotent. Everything is checked before the first change.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from ai_workflow.config import project
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.prefect_errors import explain, unreachable
from ai_workflow.provisioning import (
    automation_sync,
    automations,
    ownership,
    predeploy,
    temporary_store_check,
    variables,
    work_pool,
)
from ai_workflow.provisioning.blocks import relay_block
from ai_workflow.provisioning.blocks.registration import KEPT, register
from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.deployments import Deployments, declaration
from ai_workflow.provisioning.predeploy import CheckedDeployment

_PAGE = 200


class BootstrapError(AiWorkflowError):
    """The server cannot be set up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The checked input of a set-up.

    Args:
        settings: the settings.
        checked: the deployments.
        source: the source of the code for workers.
        relay_token: the bearer token of the relay, or None.
        prune: whether deployments and automations that are no longer declared are deleted.
        take_over: whether another owner of the server is replaced.
        exclusive: whether the server may have no other first owner.
    """

    settings: Settings
    checked: list[CheckedDeployment]
    source: Source
    relay_token: str | None
    prune: bool = False
    take_over: bool = False
    exclusive: bool = False


@dataclass(slots=True)
class BootstrapReport:
    """Changes, orphans (no longer declared), errors, warnings and steps of a set-up, a line each."""

    lines: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)

    @property
    def has_begun(self) -> bool:
        """Whether the first step began, so that the server may have been changed."""
        return bool(self.remaining or self.finished)

    def finish(self, lines: list[str]) -> None:
        """Record the changes of the first remaining step, and mark it as finished."""
        self.lines += lines
        self.finished.append(self.remaining.pop(0))


async def apply(client: PrefectClient, plan: Plan, report: BootstrapReport) -> None:
    """Make the server match the plan, and record the changes in `report`.

    Raises:
        OwnershipError: the server has another owner; nothing was changed.
    """
    deployments = Deployments(client)
    report.remaining = ["variables", "work pool", "deployments", "block webhook/alert-relay", "automations"]
    owner, changes = await deployments.claim(
        plan.checked, plan.source, take_over=plan.take_over, exclusive=plan.exclusive
    )
    report.lines += changes
    label, source = owner.label, replace(plan.source, name=owner.name, label=owner.label)
    checked = [deployment.labeled(label) for deployment in plan.checked]
    await _register_blocks(report, label)
    changes, problems = await variables.apply(client, plan.settings.deploy.variables, label)
    report.problems += problems
    report.finish(changes)
    report.finish(await work_pool.apply(client, [deployment.entry for deployment in checked]))
    try:
        report.finish(await deployments.apply(checked, source))
    except PrefectHTTPStatusError:
        names = [deployment.name for deployment in checked]
        report.finished += [f"deployment {name}" for name in names if name in deployments.ids]
        report.remaining[:1] = [f"deployment {name}" for name in names if name not in deployments.ids]
        raise
    relay = await relay_block.apply(plan.settings, plan.relay_token, label)
    report.finish(relay.changes)
    if warning := relay_block.unreachable(plan.settings, PREFECT_API_URL.value() or ""):
        report.warnings.append(warning)
    owners = await ownership.read(client)
    labels = project.event_labels(owner.environment, owner.name) if len(owners) > 1 else {}
    references = automations.references_of(plan.settings, relay.id, deployments.ids, label, labels)
    declared = automations.declared(references)
    report.finish(await automation_sync.apply(client, declared))
    if label and (first := owners.get(ownership.VARIABLE)):
        report.lines += await automation_sync.narrow(
            client, first.label, project.event_labels(first.environment, first.name)
        )
    # Automations first, so that none refers to a deleted deployment.
    for orphans in (await automation_sync.orphans(client, declared, label), deployments.orphans(source)):
        if plan.prune:
            report.lines += await orphans.remove()
        else:
            report.orphans += orphans.names


async def _register_blocks(report: BootstrapReport, label: str) -> None:
    """Register the blocks of the catalogue without prompts; errors are recorded and do not end the set-up.

    Names of these blocks are the same for all owners, so only the first owner of a server changes existing ones.
    """
    try:
        async for outcome in register(keep_existing=bool(label)):
            if outcome.result == KEPT:
                report.warnings.append(
                    f"block {outcome}: it belongs to all environments on this server. Set another value by "
                    "`ai-workflow blocks register`, or name a block of its own in the configuration, ${secret:NAME}"
                )
            if outcome.changed:
                report.lines.append(str(outcome) if outcome.name.startswith("block ") else f"block {outcome}")
    except AiWorkflowError as error:
        report.problems.append(f"{error}. The rest is done; run this again")
    except PrefectHTTPStatusError as error:
        report.problems.append(f"blocks: {explain(error)}. The rest is done; run this again")


async def plan(file: Path, settings: Settings, source: Source, client: PrefectClient) -> Plan:
    """Check files, settings and server, and return the plan.

    Raises:
        AiWorkflowError: a check failed, or the server does not answer or refuses the login.
    """
    checked = predeploy.check(file)
    pulls = [(deployment.name, declaration(deployment, source)["pull_steps"] or []) for deployment in checked]
    temporary_store_check.check(settings, pulls)
    await _reachable(client)
    await _blocks_are_readable(client)
    return Plan(settings, checked, source, await relay_block.token(settings))


async def _reachable(client: PrefectClient) -> None:
    try:
        await client.read_work_pools(limit=1)
    except PrefectHTTPStatusError as error:
        raise BootstrapError(f"{explain(error)}. Nothing was changed") from error
    except Exception as error:  # anything that Prefect or its client raises
        raise BootstrapError(unreachable(PREFECT_API_URL.value() or "", error)) from error


async def _blocks_are_readable(client: PrefectClient) -> None:
    """Read every block, because a server with another encryption key answers 500 and would save new blocks with it.

    Raises:
        BootstrapError: a block cannot be read.
    """
    offset = 0
    try:
        while page := await client.read_block_documents(offset=offset, limit=_PAGE, include_secrets=False):
            offset += len(page)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
            raise
        raise BootstrapError(
            f"the blocks of the Prefect server at {PREFECT_API_URL.value()} cannot be read (500): they were probably "
            "encrypted with another PREFECT_SERVER_ENCRYPTION_KEY than the server's. Nothing was changed. Start the "
            "server with the key that they were saved with, or change the key: python -m ai_workflow.local.rekey "
            "(docs/security.md, Encryption key)"
        ) from error


async def run(
    file: Path,
    settings: Settings,
    source: Source,
    report: BootstrapReport,
    *,
    prune: bool,
    take_over: bool,
    exclusive: bool = False,
) -> None:
    """Set up the server of PREFECT_API_URL, and record the changes in `report`.

    Raises:
        BootstrapError: a part could not be set up.
    """
    async with get_client() as client:
        ready = await plan(file, settings, source, client)
        try:
            await apply(client, replace(ready, prune=prune, take_over=take_over, exclusive=exclusive), report)
        except PrefectHTTPStatusError as error:
            raise BootstrapError(
                f"{explain(error)}. Done: {', '.join(report.finished) or 'nothing'}. Not done: "
                f"{', '.join(report.remaining)}. Run this again to continue"
            ) from error
