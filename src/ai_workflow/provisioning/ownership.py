"""Owner of a Prefect server: one pipeline, environment and project, recorded in a Prefect Variable.

Names of deployments, automations and blocks are fixed, so a second owner would overwrite those of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists

from ai_workflow.errors import AiWorkflowError

VARIABLE = "ai_workflow_owner"
REMEDY = (
    "Nothing was changed. Use another Prefect server, or pass --take-over (make deploy TAKE_OVER=1, make up "
    "TAKE_OVER=1) to give its deployments, automations and blocks to this one"
)
_TAG = "owner:"
_SHARED = ("config", "environment")


class OwnershipError(AiWorkflowError):
    """The server has the deployments of another pipeline, environment or project."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A pipeline in an environment, and its project: the folder of a checkout, or the URL of a repository."""

    pipeline: str
    environment: str
    project: str

    @property
    def tag(self) -> str:
        """The tag that marks the deployments of this owner."""
        return f"{_TAG}{self.pipeline}/{self.environment}"

    def tags_of(self, pipeline: str) -> tuple[str, ...]:
        """Return the tags of the deployments and runs of this owner for a pipeline."""
        return self.tag, f"pipeline:{pipeline}", f"environment:{self.environment}"

    def __str__(self) -> str:
        return f"pipeline '{self.pipeline}', environment '{self.environment}', project {self.project}"


async def claim(
    client: PrefectClient, mine: Owner, existing: Iterable[tuple[DeploymentResponse, dict[str, Any]]], take_over: bool
) -> list[str]:
    """Record `mine` as the owner of the server, and return the change; none if it is recorded already.

    Args:
        client: client of the server.
        mine: the owner that deploys.
        existing: the existing deployments that would be written, with their declared fields.
        take_over: whether another owner is replaced.

    Raises:
        OwnershipError: another owner is recorded, or has deployed without a record, and `take_over` is not set.
    """
    variable = await client.read_variable_by_name(VARIABLE)
    if variable is not None and variable.value == asdict(mine):
        return []
    other = _recorded(variable.value) if variable else _unrecorded(existing)
    if other is not None and not take_over:
        raise OwnershipError(f"the Prefect server at {client.api_url} belongs to {other}, not to {mine}. {REMEDY}")
    if variable is None:
        try:
            await client.create_variable(VariableCreate(name=VARIABLE, value=asdict(mine)))
        except ObjectAlreadyExists:
            # Another set-up has created it at the same time.
            return await claim(client, mine, existing, take_over)
    else:
        await client.update_variable(VariableUpdate(name=VARIABLE, value=asdict(mine)))
    return [f"owner: {mine}" + (f", before: {other}" if other else "")]


def project(steps: Sequence[dict[str, Any]] | None) -> str | None:
    """Return the project that pull steps refer to, or None."""
    for step in steps or ():
        for name, inputs in step.items():
            if name.endswith(".set_working_directory"):
                return str(inputs.get("directory"))
            if name.endswith(".git_clone"):
                return without_login(str(inputs.get("repository")))
    return None


def without_login(url: str) -> str:
    """Return the URL of a repository without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else url


def is_owner(mine: Owner, deployment: DeploymentResponse, parameters: dict[str, Any]) -> bool:
    """Return whether a deployment belongs to an owner, by its tag, or by its parameters if it has none."""
    if project(deployment.pull_steps) != mine.project:
        return False
    if any(tag.startswith(_TAG) for tag in deployment.tags):
        return mine.tag in deployment.tags
    return _same(deployment, parameters)


def _recorded(value: Any) -> str:
    try:
        return str(Owner(**value))
    except TypeError:
        return f"an owner that the variable {VARIABLE} does not name ({value!r})"


def _unrecorded(existing: Iterable[tuple[DeploymentResponse, dict[str, Any]]]) -> str | None:
    """Return another owner of deployments of an earlier release or of `prefect deploy`, or None."""
    for deployment, fields in existing:
        deployed = project(deployment.pull_steps)
        if deployed not in (None, project(fields["pull_steps"])):
            return f"project {deployed} (deployment {deployment.name})"
        if not _same(deployment, fields["parameters"]):
            recorded = {name: deployment.parameters.get(name) for name in _SHARED}
            return f"project {deployed} with {recorded} (deployment {deployment.name})"
    return None


def _same(deployment: DeploymentResponse, parameters: dict[str, Any]) -> bool:
    # `prefect deploy` stores only the parameters of prefect.yaml, with an open schema; they do not identify an owner.
    if (deployment.parameter_openapi_schema or {}).get("additionalProperties") is not False:
        return True
    # A missing value equals an empty one; deployments of earlier releases have no environment.
    config, environment = (deployment.parameters.get(name) or "" for name in _SHARED)
    return config == (parameters.get("config") or "") and environment in ("", parameters.get("environment"))
