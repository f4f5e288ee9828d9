"""`ai-workflow deploy`: makes a Prefect server what prefect.yaml and the configuration say.

Run twice, it changes nothing the second time. All that can be wrong is looked at before anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.prefect_errors import explain, unreachable
from ai_workflow.provisioning import automation_sync, automations, predeploy, result_storage, variables, work_pool
from ai_workflow.provisioning.blocks import relay_block
from ai_workflow.provisioning.blocks.registration import register
from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.deployments import Deployments, wanted
from ai_workflow.provisioning.predeploy import Checked

_PAGE = 200


class BootstrapError(AiWorkflowError):
    """The server cannot be made what it should be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was checked beforehand.

    Args:
        settings: the configuration.
        checked: the deployments.
        source: where workers find the code.
        relay_token: the bearer token of the relay, None if it has none.
        prune: delete what the file no longer has.
        take_over: replace another owner of the server.
    """

    settings: Settings
    checked: list[Checked]
    source: Source
    relay_token: str | None
    prune: bool = False
    take_over: bool = False


@dataclass(slots=True)
class Done:
    """What changed, what is there and not in the file, errors, warnings, and which steps are finished; a line each."""

    lines: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)

    def finish(self, lines: list[str]) -> None:
        """Note what the first of the remaining steps has changed."""
        self.lines += lines
        self.finished.append(self.remaining.pop(0))


async def apply(client: PrefectClient, plan: Plan, done: Done) -> None:
    """Make the server match the plan, and note in `done` what was changed.

    Raises:
        OwnershipError: the server belongs to another pipeline, environment or project; nothing was changed.
    """
    deployments = Deployments(client)
    done.remaining = ["variables", "work pool", "deployments", "block webhook/alert-relay", "automations"]
    done.lines += await deployments.claim(plan.checked, plan.source, plan.take_over)
    await _blocks(done)
    done.finish(await variables.apply(client, plan.settings.deploy.variables))
    done.finish(await work_pool.apply(client, [one.entry for one in plan.checked]))
    try:
        done.finish(await deployments.apply(plan.checked, plan.source))
    except PrefectHTTPStatusError:
        names = [f"{one.flow.name}/{one.entry.name}" for one in plan.checked]
        done.finished += [f"deployment {name}" for name in names if name in deployments.ids]
        done.remaining[:1] = [f"deployment {name}" for name in names if name not in deployments.ids]
        raise
    relay = await relay_block.apply(plan.settings, plan.relay_token)
    done.finish(relay.done)
    if warning := relay_block.unreachable(plan.settings, PREFECT_API_URL.value() or ""):
        done.warnings.append(warning)
    needed = automations.wanted(automations.needs(plan.settings, relay.id, deployments.ids))
    done.finish(await automation_sync.apply(client, needed))
    # Automations first: one must not refer to a deployment that is gone.
    for leftover in (await automation_sync.leftovers(client, needed), deployments.leftovers(plan.source)):
        if plan.prune:
            done.lines += await leftover.remove()
        else:
            done.left += leftover.names


async def _blocks(done: Done) -> None:
    """Have the catalogue of blocks registered, and nobody asked; what goes wrong there keeps nothing else."""
    try:
        async for outcome in register():
            if outcome.changed:
                done.lines.append(str(outcome) if outcome.name.startswith("block ") else f"block {outcome}")
    except AiWorkflowError as error:
        done.problems.append(f"{error}. The rest is done; run this again")
    except PrefectHTTPStatusError as error:
        done.problems.append(f"blocks: {explain(error)}. The rest is done; run this again")


async def plan(file: Path, settings: Settings, source: Source, client: PrefectClient) -> Plan:
    """Look at everything that could be wrong.

    Raises:
        AiWorkflowError: something is, or the server does not answer or does not let us in.
    """
    checked = predeploy.check(file)
    pulls = [(f"{one.flow.name}/{one.entry.name}", wanted(one, source)["pull_steps"] or []) for one in checked]
    result_storage.check(settings, pulls)
    await _reachable(client)
    await _blocks_are_readable(client)
    return Plan(settings, checked, source, await relay_block.token(settings))


async def _reachable(client: PrefectClient) -> None:
    try:
        await client.read_work_pools(limit=1)
    except PrefectHTTPStatusError as error:
        raise BootstrapError(f"{explain(error)}. Nothing was changed") from error
    except Exception as error:  # whatever keeps it from answering
        raise BootstrapError(unreachable(PREFECT_API_URL.value() or "", error)) from error


async def _blocks_are_readable(client: PrefectClient) -> None:
    """Read every block: a server with another key answers 500, and would save new blocks with that key.

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


async def run(file: Path, settings: Settings, source: Source, done: Done, *, prune: bool, take_over: bool) -> None:
    """Set up the server of PREFECT_API_URL, and record in `done` what was changed.

    Raises:
        BootstrapError: a part could not be set up.
    """
    async with get_client() as client:
        ready = await plan(file, settings, source, client)
        try:
            await apply(client, replace(ready, prune=prune, take_over=take_over), done)
        except PrefectHTTPStatusError as error:
            raise BootstrapError(
                f"{explain(error)}. Done: {', '.join(done.finished) or 'nothing'}. Not done: "
                f"{', '.join(done.remaining)}. Run this again to go on"
            ) from error
