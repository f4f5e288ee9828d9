"""Owners of a Prefect server: each a project in an environment, recorded in a Prefect Variable.

The first owner has plain names of deployments, automations and blocks. The names of others end with their label, so
that no owner overwrites the objects of another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists

from ai_workflow.config import pipeline_folders
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import owner_label

VARIABLE = "ai_workflow_owner"
TAKE_OVER = (
    "pass --take-over (make deploy TAKE_OVER=1, make up TAKE_OVER=1) to give its deployments, automations and blocks "
    "to this one"
)
_TAG = "owner:"
_SHARED = ("config", "environment")
# Deployments that exist, with the fields that an owner declares for them.
Existing = Iterable[tuple[DeploymentResponse, Mapping[str, Any]]]


class OwnershipError(AiWorkflowError):
    """The server has the deployments of another pipeline, environment or project."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A pipeline in an environment, and its project.

    Args:
        pipeline: the pipeline of the configuration.
        environment: the environment.
        project: the folder of the checkout, or the URL of the repository.
        name: the name of the project in prefect.yaml; empty if unknown.
        label: the end of the names of deployments; empty for the first owner of the server.
    """

    pipeline: str
    environment: str
    project: str
    name: str = ""
    label: str = ""

    @property
    def tag(self) -> str:
        """The tag that marks the deployments of this owner."""
        return f"{_TAG}{self.pipeline}/{self.environment}"

    @property
    def variable(self) -> str:
        """The name of the Prefect Variable that records this owner."""
        return f"{VARIABLE}_{self.label.replace('-', '_')}" if self.label else VARIABLE

    @property
    def record(self) -> dict[str, str]:
        """The value of the variable."""
        return {key: value for key, value in asdict(self).items() if value}

    def tags_of(self, pipeline: str) -> tuple[str, ...]:
        """Return the tags of the deployments and runs of this owner for a pipeline."""
        return self.tag, f"{pipeline_folders.TAG}{pipeline}", f"environment:{self.environment}"

    def is_same(self, other: Owner) -> bool:
        """Return whether two owners are the same project in the same environment, or may be."""
        is_same_project = self.project == other.project or self.name == other.name or not (self.name and other.name)
        return self.environment == other.environment and is_same_project

    def beside(self, first: Owner) -> Owner:
        """Return this owner with its label on the server of another one."""
        is_same_project = self.project == first.project or (self.name and self.name == first.name)
        name = self.name or self.project.rstrip("/").rpartition("/")[2]
        text = self.environment if is_same_project else f"{name}-{self.environment}"
        return replace(self, label=re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"))

    def __str__(self) -> str:
        return f"pipeline '{self.pipeline}', environment '{self.environment}', project {self.project}"


async def claim(
    client: PrefectClient, mine: Owner, existing: Callable[[Owner], Existing], *, take_over: bool, exclusive: bool
) -> tuple[Owner, list[str]]:
    """Record `mine` as an owner of the server, and return it with its label, and the change if any.

    Args:
        client: client of the server.
        mine: the owner that deploys.
        existing: returns the existing deployments that an owner would write.
        take_over: whether the owner of the same environment, or else the first owner, is replaced.
        exclusive: whether the server may have no other first owner.

    Raises:
        OwnershipError: another owner has the same environment or names, or has deployed without a record, and
            `take_over` is not set.
    """
    owners = await read(client)
    first, current = owners.get(VARIABLE), _current(owners.values(), mine)
    if exclusive and (current.label if current else first and not take_over):
        remedy = "Use another Prefect server" + ("" if current else f", or {TAKE_OVER}")
        raise OwnershipError(f"{_belongs(client, first or current, mine)} {remedy}")
    before: Owner | str | None = current or first
    if current is not None:
        mine = replace(mine, name=mine.name or current.name, label=current.label)
        if mine == current:
            return mine, []
        if not take_over and (mine.pipeline, mine.project) != (current.pipeline, current.project):
            raise OwnershipError(f"{_belongs(client, current, mine)} {_remedy(mine, current)}")
    elif first is None or not take_over:
        mine = mine.beside(first) if first else mine
        before = owners.get(mine.variable) or _unrecorded(existing(mine), mine)
        if before is not None and not take_over:
            raise OwnershipError(f"{_belongs(client, before, mine)} Use another Prefect server, or {TAKE_OVER}")
    if mine.variable in owners:
        await client.update_variable(VariableUpdate(name=mine.variable, value=mine.record))
    else:
        try:
            await client.create_variable(VariableCreate(name=mine.variable, value=mine.record))
        except ObjectAlreadyExists:
            # Another set-up has created it at the same time.
            return await claim(client, replace(mine, label=""), existing, take_over=take_over, exclusive=exclusive)
    names = f", names end with -{mine.label}" if mine.label else ""
    is_replaced = before is not None and str(before) != str(mine)
    return mine, [f"owner: {mine}{names}" + (f", before: {before}" if is_replaced else "")]


async def read(client: PrefectClient) -> dict[str, Owner]:
    """Return the owners of a server by the name of their variable.

    Raises:
        OwnershipError: a record is not readable.
    """
    wanted = {"variables": {"name": {"like_": VARIABLE}}, "limit": 200}
    response = await client.request("POST", "/variables/filter", json=wanted)
    records = [each for each in response.json() if re.match(rf"{VARIABLE}(_|$)", each["name"])]
    return {each["name"]: _owner(each["name"], each["value"]) for each in records}


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
    """Return whether a deployment belongs to an owner, by its tags, or by its parameters if it has none."""
    if project(deployment.pull_steps) != mine.project or owner_label.of(deployment.tags) != mine.label:
        return False
    if any(tag.startswith(_TAG) for tag in deployment.tags):
        return mine.tag in deployment.tags
    return _same(deployment, parameters)


def _current(owners: Iterable[Owner], mine: Owner) -> Owner | None:
    """Return the recorded owner of the same environment and project; the one in the same place if several may be."""
    same = [owner for owner in owners if owner.is_same(mine)]
    return min(same, key=lambda owner: (owner.project != mine.project, owner.name != mine.name), default=None)


def _belongs(client: PrefectClient, other: Owner | str | None, mine: Owner) -> str:
    return f"the Prefect server at {client.api_url} belongs to {other}, not to {mine}. Nothing was changed."


def _remedy(mine: Owner, current: Owner) -> str:
    remedy = f"Use another environment or Prefect server, or {TAKE_OVER}"
    if mine.project == current.project:
        return remedy
    if current.name:
        return f"{remedy}. If this is another project, set another `name:` in its prefect.yaml"
    return (
        f"{remedy}. If this is another project, deploy the first one again, which records its name, and then this one"
    )


def _owner(variable: str, value: Any) -> Owner:
    known = {each.name for each in fields(Owner)}
    if isinstance(value, dict) and {"pipeline", "environment", "project"} <= set(value) <= known:
        return Owner(**{key: str(text) for key, text in value.items()})
    raise OwnershipError(
        f"the Prefect Variable {variable} does not name an owner of the server ({value!r}). Nothing was changed. "
        "Correct or delete it"
    )


def _unrecorded(existing: Existing, mine: Owner) -> str | None:
    """Return another owner of deployments of an earlier release or of `prefect deploy`, or None."""
    for deployment, declared in existing:
        deployed = project(deployment.pull_steps)
        if mine.label or deployed not in (None, project(declared["pull_steps"])):
            return f"project {deployed} (deployment {deployment.name})"
        if not _same(deployment, declared["parameters"]):
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
