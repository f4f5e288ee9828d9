"""Deployments on a server as prefect.yaml wants them: what differs is written, what does not is left alone.

Whether a deployment or a schedule is paused is a person's decision, and outlives a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.orphans import Leftovers
from ai_workflow.provisioning.ownership import claim, is_owner
from ai_workflow.provisioning.predeploy import Checked

# A fixed one: else each deployment of an interval would differ from the one before.
ANCHOR = "2020-01-01T00:00:00Z"
_PAGE = 200
# Parameters that change nothing; with them the form of a deployment shows fields to fill in.
_UNSET: Mapping[str, Any] = {"config": "", "overrides": {}, "traceparent": "", "log_level": ""}
# The tag and the work pool of everything that is of this project.
OURS = "ai-workflow"


class Deployments:
    """The deployments of a server."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self.ids: dict[str, UUID] = {}
        self._before: dict[str, DeploymentResponse] = {}

    async def claim(self, checked: Sequence[Checked], source: Source, take_over: bool) -> list[str]:
        """Record the owner of the source as that of the server, and return what was done.

        Raises:
            OwnershipError: the server belongs to another owner, and `take_over` is not set.
        """
        there = self._before = await self._there()
        named = ((there.get(f"{one.flow.name}/{one.entry.name}"), wanted(one, source)) for one in checked)
        pairs = [(found, fields) for found, fields in named if found]
        return await claim(self._client, source.owner, pairs, take_over)

    async def apply(self, checked: Sequence[Checked], source: Source) -> list[str]:
        """Create or update what differs, and return what was done, a line each; `ids` then has them by flow/name."""
        there = self._before = await self._there()
        done = []
        for one in checked:
            name = f"{one.flow.name}/{one.entry.name}"
            found, fields = there.get(name), wanted(one, source)
            if found:
                self.ids[name] = found.id
            changed = _differences(fields, found) if found else ["new"]
            if not changed:
                continue
            self.ids[name] = await self._write(one, fields, found)
            done.append(f"deployment {name}: {'made' if found is None else 'changed: ' + ', '.join(changed)}")
        return done

    def leftovers(self, source: Source) -> Leftovers:
        """Return the deployments of the owner, by tag or work pool, that `apply` did not write."""
        found = {
            f"deployment {name}": one.id
            for name, one in self._before.items()
            if name not in self.ids
            and (OURS in one.tags or one.work_pool_name == OURS)
            and is_owner(source.owner, one, dict(source.parameters))
        }
        return Leftovers(found, self._client.delete_deployment)

    async def _there(self) -> dict[str, DeploymentResponse]:
        flows: dict[UUID, str] = {}
        found: list[DeploymentResponse] = []
        while page := await self._client.read_flows(limit=_PAGE, offset=len(flows)):
            flows |= {flow.id: flow.name for flow in page}
            if len(page) < _PAGE:
                break
        while batch := await self._client.read_deployments(limit=_PAGE, offset=len(found)):
            found += batch
            if len(batch) < _PAGE:
                break
        return {f"{flows[one.flow_id]}/{one.name}": one for one in found if one.flow_id in flows}

    async def _write(self, one: Checked, fields: Mapping[str, Any], found: DeploymentResponse | None) -> UUID:
        flow_id = found.flow_id if found else await self._client.create_flow_from_name(one.flow.name)
        active = {schedule.slug: schedule.active for schedule in found.schedules} if found else {}
        given = dict(fields)
        schedules = given.pop("schedules")
        options = given.pop("concurrency_options")
        return await self._client.create_deployment(
            flow_id=flow_id,
            name=one.entry.name,
            schedules=[_schedule(each, active) for each in schedules],
            concurrency_options=ConcurrencyOptions.model_validate(options) if options else None,
            # Prefect leaves what is not said as it is.
            paused=one.entry.get("paused") if found is None else None,
            **given,
        )


def wanted(one: Checked, source: Source) -> dict[str, Any]:
    """Return what a deployment is to be, as the API says it."""
    entry = one.entry
    pool, limit = entry.given["work_pool"], entry.get("concurrency_limit")
    options = {key: value for key, value in limit.items() if key != "limit"} if isinstance(limit, dict) else None
    about = (one.flow.description or "").partition("\nArgs:")[0].strip()
    return {
        "version": entry.get("version", source.version),
        "description": source.links.below(entry.get("description", about), one.flow.name, source.pipeline),
        "tags": sorted({*entry.get("tags", []), *source.owner.tags}),
        "parameters": {
            **_of_flow({**_UNSET, "environment": source.environment, **source.parameters}, one),
            **entry.get("parameters", {}),
        },
        "parameter_openapi_schema": _form(one.schema, source.environments),
        "enforce_parameter_schema": entry.get("enforce_parameter_schema", True),
        "entrypoint": entry.given["entrypoint"],
        "pull_steps": entry.get("pull", source.steps()),
        "work_pool_name": pool["name"],
        "work_queue_name": pool.get("work_queue_name", "default"),
        "job_variables": pool.get("job_variables") or {},
        "concurrency_limit": limit["limit"] if isinstance(limit, dict) else limit,
        "concurrency_options": options,
        "schedules": sorted(entry.get("schedules", []), key=lambda each: str(each["slug"])),
    }


def _form(schema: dict[str, Any], environments: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a deployment: environments to choose from, and a field for the JSON of `overrides`.

    The UI shows no field for an object that may be null.
    """
    properties = {name: dict(one) for name, one in schema["properties"].items()}
    if "environment" in properties and environments:
        properties["environment"]["anyOf"] = [{"type": "string", "enum": ["", *environments]}, {"type": "null"}]
    if "anyOf" in properties.get("overrides", {}):
        [given] = [kind for kind in properties["overrides"].pop("anyOf") if kind.get("type") == "object"]
        properties["overrides"] |= given
    return {**schema, "properties": properties}


def _of_flow(parameters: Mapping[str, Any], one: Checked) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in one.schema["properties"]}


def _differences(fields: Mapping[str, Any], found: DeploymentResponse) -> list[str]:
    # The limit is looked up below: the field of its name is deprecated.
    there = {name: getattr(found, name, None) for name in fields if name != "concurrency_limit"}
    there["tags"] = sorted(found.tags)
    limit, options = found.global_concurrency_limit, found.concurrency_options
    there["concurrency_limit"] = limit.limit if limit else None
    there["concurrency_options"] = options.model_dump(mode="json", exclude_none=True) if options else None
    there["schedules"] = sorted((_said(one.slug, one.schedule, one.parameters) for one in found.schedules), key=str)
    want = {
        **fields,
        "schedules": sorted(
            (_said(one["slug"], _when(one), one.get("parameters")) for one in fields["schedules"]), key=str
        ),
    }
    if want["concurrency_options"] and there["concurrency_options"]:
        # The server adds the defaults that are not given.
        there["concurrency_options"] = {
            key: there["concurrency_options"].get(key) for key in want["concurrency_options"]
        }
    return [name for name in want if want[name] != there[name]]


def _schedule(given: Mapping[str, Any], active: Mapping[str | None, bool]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=_when(given),
        slug=given["slug"],
        parameters=given.get("parameters") or {},
        active=active.get(given["slug"], given.get("active", True)),
    )


def _when(given: Mapping[str, Any]) -> IntervalSchedule | CronSchedule | RRuleSchedule:
    zone = {"timezone": given.get("timezone", "UTC")}
    if "interval" in given:
        seconds = timedelta(seconds=given["interval"])
        return IntervalSchedule.model_validate(
            {"interval": seconds, "anchor_date": given.get("anchor_date", ANCHOR), **zone}
        )
    if "cron" in given:
        return CronSchedule(cron=given["cron"], day_or=given.get("day_or", True), **zone)
    return RRuleSchedule(rrule=given["rrule"], **zone)


def _said(slug: str | None, when: Any, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"slug": slug, "schedule": when.model_dump(mode="json"), "parameters": dict(parameters or {})}
