"""`python -m deploy.bootstrap`: makes a Prefect server what prefect.yaml and the configuration say.

Run twice, it changes nothing the second time. All that can be wrong is looked at before anything is done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cyclopts import App
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from ai_workflow import config as configuration
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub
from ai_workflow.settings import Settings
from deploy import armed, automations, predeploy, relay_block, variables, work_pool
from deploy.deployments import Deployments, Source
from deploy.predeploy import Checked

ROOT = Path(__file__).resolve().parent.parent
# What `python -m blocks register` says of a block that it has written.
_WRITTEN = ("made", "changed", "created", "updated", "registered")
app = App(name="python -m deploy.bootstrap", help=__doc__, version_flags=[])


class BootstrapError(AiWorkflowError):
    """The server cannot be made what it should be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that was looked at beforehand, and is right."""

    settings: Settings
    checked: list[Checked]
    source: Source
    relay_token: str | None
    relay_url: str | None = None


async def apply(client: PrefectClient, plan: Plan) -> list[str]:
    """Make the server so, and return what was done, a line each; nothing where nothing was to be done."""
    blocks = asyncio.create_task(_blocks())
    done = await variables.apply(client, plan.settings.deploy.variables)
    done += await work_pool.apply(client, [one.entry for one in plan.checked])
    deployments = Deployments(client)
    done += await deployments.apply(plan.checked, plan.source)
    relay = await relay_block.apply(plan.relay_url or relay_block.url(plan.settings), plan.relay_token)
    done += relay.done
    need = automations.needs(plan.settings, relay.id, deployments.ids)
    done += await armed.apply(client, automations.wanted(need))
    return done + await blocks


async def plan(file: Path, settings: Settings, source: Source, client: PrefectClient) -> Plan:
    """Look at everything that could be wrong.

    Raises:
        AiWorkflowError: something is, or the server does not answer or does not let us in.
    """
    checked = predeploy.check(file)
    await _reachable(client)
    return Plan(settings, checked, source, await relay_block.token(settings))


async def _reachable(client: PrefectClient) -> None:
    where = PREFECT_API_URL.value()
    if not where:
        raise BootstrapError("PREFECT_API_URL is not set. Set it to the server's, such as http://127.0.0.1:4200/api")
    try:
        await client.read_work_pools(limit=1)
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        remedy = "Set PREFECT_API_AUTH_STRING to the server's" if code in (401, 403) else "Look at the server's log"
        raise BootstrapError(f"the Prefect server at {where} answers {code}. {remedy}") from error
    except Exception as error:  # whatever keeps it from answering
        raise BootstrapError(
            f"the Prefect server at {where} does not answer ({error}). Start it, or correct the address"
        ) from error


async def _blocks() -> list[str]:
    """Have the catalogue of blocks registered; a process of its own, as it takes its values from the environment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "blocks", "register",
        cwd=ROOT, env={**os.environ, "PYTHONPATH": _python_path()}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problems = await process.communicate()
    if process.returncode:
        last = problems.decode(errors="replace").strip().splitlines()[-1:]
        raise BootstrapError(f"python -m blocks register failed: {' '.join(last)}. The rest is done; run this again")
    lines = [line.strip() for line in out.decode(errors="replace").splitlines()]
    return [f"block {line}" for line in lines if line.partition(": ")[2].startswith(_WRITTEN)]


def _python_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


async def _run(file: Path, settings: Settings, source: Source, relay_url: str | None) -> list[str]:
    async with get_client() as client:
        ready = replace(await plan(file, settings, source, client), relay_url=relay_url)
        try:
            return await apply(client, ready)
        except PrefectHTTPStatusError as error:
            reply = error.response
            asked = f"{reply.request.method} {reply.request.url.path}"
            remedy = "Its log says more; what was done before stays, and running this again goes on"
            raise BootstrapError(f"the Prefect server answers {reply.status_code} to {asked}. {remedy}") from error


@app.default
def main(
    file: Path = ROOT / "prefect.yaml",
    *,
    config: str | None = None,
    environment: str | None = None,
    git: str | None = None,
    ref: str | None = None,
    git_token_block: str | None = None,
    relay_url: str | None = None,
) -> int:
    """Set up work pool, queues, variables, blocks, deployments and automations on the server of PREFECT_API_URL.

    Args:
        file: the prefect.yaml.
        config: pipeline file of every deployment that names no other; that of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies to them.
        git: address of a repository that workers pull the code from; else they use this folder.
        ref: its branch.
        git_token_block: a Secret block with an access token for it.
        relay_url: where the server reaches the relay, if not at deploy.relay_url.
    """
    try:
        settings = configuration.load(config, environment=environment).settings
        pipeline = str(Path(config).resolve()) if config and git is None else config
        given = {name: value for name, value in (("config", pipeline), ("environment", environment)) if value}
        source = Source(file.resolve().parent, git, ref, git_token_block, given)
        done: Any = asyncio.run(_run(file, settings, source, relay_url))
    except AiWorkflowError as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
        return 1
    print("\n".join(done) if done else "nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
