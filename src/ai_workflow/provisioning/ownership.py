"""Whose deployments a Prefect server carries: one pipeline, environment and project, on record as a Variable.

Names of deployments, automations and blocks are fixed, so a second owner would retarget those of the first.
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
    """The server carries the deployments of another pipeline, environment or project."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A pipeline in an environment, and its project: the folder of a checkout, or the URL of a repository."""

    pipeline: str
    environment: str
    project: str

    @property
    def tag(self) -> str:
        """The tag of the deployments of this owner."""
        return f"{_TAG}{self.pipeline}/{self.environment}"

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags of the deployments of this owner, which their runs get as well."""
        return self.tag, f"pipeline:{self.pipeline}", f"environment:{self.environment}"

    def __str__(self) -> str:
        return f"pipeline '{self.pipeline}', environment '{self.environment}', project {self.project}"


async def claim(
    client: PrefectClient, mine: Owner, there: Iterable[tuple[DeploymentResponse, dict[str, Any]]], take_over: bool
) -> list[str]:
    """Record `mine` as the owner of the server, and return what was done; nothing where it is on record already.

    Args:
        client: the server.
        mine: the owner that deploys.
        there: each deployment of the server that is to be written, with the fields that it is to have.
        take_over: replace another owner.

    Raises:
        OwnershipError: another owner is on record, or has deployed without a record, and `take_over` is not set.
    """
    found = await client.read_variable_by_name(VARIABLE)
    if found is not None and found.value == asdict(mine):
        return []
    other = _on_record(found.value) if found else _deployed(there)
    if other is not None and not take_over:
        raise OwnershipError(f"the Prefect server at {client.api_url} belongs to {other}, not to {mine}. {REMEDY}")
    if found is None:
        try:
            await client.create_variable(VariableCreate(name=VARIABLE, value=asdict(mine)))
        except ObjectAlreadyExists:
            # Another bootstrap at the same moment.
            return await claim(client, mine, there, take_over)
    else:
        await client.update_variable(VariableUpdate(name=VARIABLE, value=asdict(mine)))
    return [f"owner: {mine}" + (f", before: {other}" if other else "")]


def project(steps: Sequence[dict[str, Any]] | None) -> str | None:
    """Return the project that pull steps lead to; None if they name none."""
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
    """Return whether a deployment is of this owner; one without the tag of an owner is judged by its parameters."""
    if project(deployment.pull_steps) != mine.project:
        return False
    if any(tag.startswith(_TAG) for tag in deployment.tags):
        return mine.tag in deployment.tags
    return _same(deployment, parameters)


def _on_record(value: Any) -> str:
    try:
        return str(Owner(**value))
    except TypeError:
        return f"an owner that the variable {VARIABLE} does not name ({value!r})"


def _deployed(there: Iterable[tuple[DeploymentResponse, dict[str, Any]]]) -> str | None:
    """Return the owner of deployments that were made before owners were recorded, or by `prefect deploy`."""
    for deployment, fields in there:
        where = project(deployment.pull_steps)
        if where not in (None, project(fields["pull_steps"])):
            return f"project {where} (deployment {deployment.name})"
        if not _same(deployment, fields["parameters"]):
            recorded = {name: deployment.parameters.get(name) for name in _SHARED}
            return f"project {where} with {recorded} (deployment {deployment.name})"
    return None


def _same(deployment: DeploymentResponse, parameters: dict[str, Any]) -> bool:
    # `prefect deploy` stores the parameters of prefect.yaml alone, with an open schema: they name no owner.
    if (deployment.parameter_openapi_schema or {}).get("additionalProperties") is not False:
        return True
    # No value and an empty one are the same; deployments of earlier versions name no environment.
    config, environment = (deployment.parameters.get(name) or "" for name in _SHARED)
    return config == (parameters.get("config") or "") and environment in ("", parameters.get("environment"))
