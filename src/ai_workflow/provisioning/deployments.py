"""Sync of deployments with prefect.yaml: only deployments that differ are written.

The paused state of an existing deployment or schedule is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse

from ai_workflow.orchestration import owner_label
from ai_workflow.provisioning import schedules
from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.orphans import Orphans
from ai_workflow.provisioning.ownership import Owner, OwnershipError, claim, is_owner
from ai_workflow.provisioning.predeploy import CheckedDeployment

_PAGE = 200
# Parameters without effect, so that the form of a deployment in the UI has fields for them.
_UNSET: Mapping[str, Any] = {"config": "", "overrides": {}, "traceparent": "", "log_level": ""}


class Deployments:
    """The deployments of a server."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self.ids: dict[str, UUID] = {}
        self._existing: dict[str, DeploymentResponse] = {}

    async def claim(
        self, checked: Sequence[CheckedDeployment], source: Source, *, take_over: bool, exclusive: bool
    ) -> tuple[Owner, list[str]]:
        """Record the owner of the source, and return it with its label, and the change.

        Raises:
            OwnershipError: the server or a deployment belongs to another owner.
        """
        existing = self._existing = await self._read()

        def pairs(owner: Owner) -> Iterator[tuple[DeploymentResponse, dict[str, Any]]]:
            for deployment in (each.labeled(owner.label) for each in checked):
                if deployment.name in existing:
                    yield existing[deployment.name], declaration(deployment, source)

        owner, changes = await claim(self._client, source.owner, pairs, take_over=take_over, exclusive=exclusive)
        for name, deployment in ((each.labeled(owner.label).name, each) for each in checked):
            if name in existing and (label := owner_label.of(existing[name].tags)) != owner.label:
                whose = f"the owner whose names end with -{label}" if label else "the first owner of the server"
                raise OwnershipError(
                    f"deployment {name} belongs to {whose}. No deployment was changed. Rename "
                    f"{deployment.entry.name} in prefect.yaml, or remove the existing deployment"
                )
        return owner, changes

    async def apply(self, checked: Sequence[CheckedDeployment], source: Source) -> list[str]:
        """Create or update deployments that differ, and return the changes; `ids` maps flow/name to ID afterwards."""
        existing = self._existing = await self._read()
        changes = []
        for deployment in checked:
            name = deployment.name
            current = existing.get(name)
            fields = declaration(deployment, source)
            if current:
                self.ids[name] = current.id
            differences = _differences(fields, current) if current else ["new"]
            if not differences:
                continue
            self.ids[name] = await self._write(deployment, fields, current)
            change = "made" if current is None else f"changed: {', '.join(differences)}"
            changes.append(f"deployment {name}: {change}")
        return changes

    def orphans(self, source: Source) -> Orphans:
        """Return the deployments of the owner, by tag or work pool, that are not declared."""
        ids = {
            f"deployment {name}": deployment.id
            for name, deployment in self._existing.items()
            if name not in self.ids
            and (
                owner_label.tag(source.label) in deployment.tags
                or deployment.work_pool_name == owner_label.name(owner_label.TAG, source.label)
            )
            and is_owner(source.owner, deployment, dict(source.parameters))
        }
        return Orphans(ids, self._client.delete_deployment)

    async def _read(self) -> dict[str, DeploymentResponse]:
        flows: dict[UUID, str] = {}
        deployments: list[DeploymentResponse] = []
        while page := await self._client.read_flows(limit=_PAGE, offset=len(flows)):
            flows |= {flow.id: flow.name for flow in page}
            if len(page) < _PAGE:
                break
        while batch := await self._client.read_deployments(limit=_PAGE, offset=len(deployments)):
            deployments += batch
            if len(batch) < _PAGE:
                break
        return {f"{flows[each.flow_id]}/{each.name}": each for each in deployments if each.flow_id in flows}

    async def _write(
        self, deployment: CheckedDeployment, fields: Mapping[str, Any], current: DeploymentResponse | None
    ) -> UUID:
        flow_id = current.flow_id if current else await self._client.create_flow_from_name(deployment.flow.name)
        active = {schedule.slug: schedule.active for schedule in current.schedules} if current else {}
        remaining = dict(fields)
        declared = remaining.pop("schedules")
        options = remaining.pop("concurrency_options")
        return await self._client.create_deployment(
            flow_id=flow_id,
            name=deployment.entry.name,
            schedules=[_schedule(schedule, active) for schedule in declared],
            concurrency_options=ConcurrencyOptions.model_validate(options) if options else None,
            # None keeps the current value.
            paused=deployment.entry.get("paused") if current is None else None,
            **remaining,
        )


def declaration(deployment: CheckedDeployment, source: Source) -> dict[str, Any]:
    """Return the declared fields of a deployment in the format of the API."""
    entry = deployment.entry
    pool = entry.fields["work_pool"]
    limit = entry.get("concurrency_limit")
    options = {key: value for key, value in limit.items() if key != "limit"} if isinstance(limit, dict) else None
    description = (deployment.flow.description or "").partition("\nArgs:")[0].strip()
    pipeline = deployment.entry.pipeline or source.pipeline
    return {
        "version": entry.get("version", source.version),
        "description": source.links.below(entry.get("description", description), deployment.flow.name, pipeline),
        "tags": sorted({*entry.get("tags", []), *source.owner.tags_of(pipeline)}),
        "parameters": {
            **_accepted({**_UNSET, "environment": source.environment, **source.parameters}, deployment),
            **entry.get("parameters", {}),
        },
        "parameter_openapi_schema": _form(deployment.schema, source.environments),
        "enforce_parameter_schema": entry.get("enforce_parameter_schema", True),
        "entrypoint": entry.fields["entrypoint"],
        "pull_steps": entry.get("pull", source.steps()),
        "work_pool_name": pool["name"],
        "work_queue_name": pool.get("work_queue_name", "default"),
        "job_variables": pool.get("job_variables") or {},
        "concurrency_limit": limit["limit"] if isinstance(limit, dict) else limit,
        "concurrency_options": options,
        "schedules": sorted(entry.get("schedules", []), key=lambda schedule: str(schedule["slug"])),
    }


def _form(schema: dict[str, Any], environments: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a deployment with a choice of environments and a field for the JSON of `overrides`.

    The UI shows no field for an object that may be null.
    """
    properties = {name: dict(each) for name, each in schema["properties"].items()}
    if "environment" in properties and environments:
        properties["environment"]["anyOf"] = [{"type": "string", "enum": ["", *environments]}, {"type": "null"}]
    if "anyOf" in properties.get("overrides", {}):
        [object_schema] = [kind for kind in properties["overrides"].pop("anyOf") if kind.get("type") == "object"]
        properties["overrides"] |= object_schema
    return {**schema, "properties": properties}


def _accepted(parameters: Mapping[str, Any], deployment: CheckedDeployment) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in deployment.schema["properties"]}


def _differences(fields: Mapping[str, Any], deployment: DeploymentResponse) -> list[str]:
    """Return the names of the fields that differ from a deployment on the server."""
    # The field `concurrency_limit` of a response is deprecated.
    current = {name: getattr(deployment, name, None) for name in fields if name != "concurrency_limit"}
    current["tags"] = sorted(deployment.tags)
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    current["concurrency_limit"] = limit.limit if limit else None
    current["concurrency_options"] = options.model_dump(mode="json", exclude_none=True) if options else None
    present = [_comparable(each.slug, each.schedule, each.parameters) for each in deployment.schedules]
    current["schedules"] = sorted(present, key=str)
    wanted = [
        _comparable(each["slug"], schedules.of_entry(each), each.get("parameters")) for each in fields["schedules"]
    ]
    declared = {**fields, "schedules": sorted(wanted, key=str)}
    if declared["concurrency_options"] and current["concurrency_options"]:
        # The server adds defaults for options that are not declared.
        current["concurrency_options"] = {
            key: current["concurrency_options"].get(key) for key in declared["concurrency_options"]
        }
    return [name for name in declared if declared[name] != current[name]]


def _schedule(declared: Mapping[str, Any], active: Mapping[str | None, bool]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=schedules.of_entry(declared),
        slug=declared["slug"],
        parameters=declared.get("parameters") or {},
        active=active.get(declared["slug"], declared.get("active", True)),
    )


def _comparable(slug: str | None, when: Any, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"slug": slug, "schedule": when.model_dump(mode="json"), "parameters": dict(parameters or {})}
