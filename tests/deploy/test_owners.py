"""Owners of a Prefect server: which projects and environments share it, and which one is rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectAlreadyExists

from ai_workflow.config import loader
from ai_workflow.orchestration import owner_label
from ai_workflow.orchestration.recovery.run_lookup import RunLookup
from ai_workflow.provisioning import variables
from ai_workflow.provisioning.ownership import Existing, Owner, OwnershipError, claim
from ai_workflow.provisioning.prefect_file import Entry

pytestmark = pytest.mark.unit
PRODUCTION = Owner("credit", "production", "/srv/credit", "credit")
STAGING = replace(PRODUCTION, environment="staging")
LEGACY = {"pipeline": "credit", "environment": "production", "project": "/srv/credit"}


@dataclass
class Variables:
    """The variables of a server, as Prefect's client reads and writes them."""

    values: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    api_url: str = "http://server/api"

    async def request(self, _method: str, _path: str, json: dict[str, Any]) -> httpx.Response:
        """Return the variables whose name contains the text, sorted."""
        text = json["variables"]["name"]["like_"]
        items = [{"name": name, "value": value} for name, value in sorted(self.values.items()) if text in name]
        return httpx.Response(200, json=items)

    async def read_variable_by_name(self, name: str) -> Any:
        """Return a variable or None."""
        return SimpleNamespace(value=self.values[name], tags=self.tags[name]) if name in self.values else None

    async def create_variable(self, variable: Any) -> None:
        """Create a variable, which is exclusive."""
        if variable.name in self.values:
            raise ObjectAlreadyExists(Exception())
        self.values[variable.name] = variable.value
        self.tags[variable.name] = variable.tags or []

    async def update_variable(self, variable: Any) -> None:
        """Change a variable."""
        self.values[variable.name] = variable.value


def claimed(
    server: Variables, mine: Owner, *, take_over: bool = False, exclusive: bool = False, existing: Existing = ()
) -> tuple[str, list[str]]:
    """Return the label of an owner, and the changes."""
    client: Any = server
    owner, lines = asyncio.run(claim(client, mine, lambda _: existing, take_over=take_over, exclusive=exclusive))
    return owner.label, lines


@pytest.fixture
def server() -> Iterator[Variables]:
    """A server that production owns."""
    server = Variables()
    assert claimed(server, PRODUCTION)[0] == ""
    return server


def test_environments_of_a_project_get_labels_and_deploy_twice_without_changes(server: Variables) -> None:
    assert claimed(server, STAGING)[0] == "staging"
    for owner, label in ((PRODUCTION, ""), (STAGING, "staging")) * 2:
        assert claimed(server, owner) == (label, [])


def test_other_project_gets_label_of_its_name(server: Variables) -> None:
    other = Owner("sales", "production", "https://example.com/sales.git", "Sales EU")
    assert claimed(server, other)[0] == "sales-eu-production"
    assert claimed(server, other)[1] == []
    assert claimed(server, PRODUCTION)[1] == []


@pytest.mark.parametrize(
    "mine",
    [
        replace(PRODUCTION, pipeline="peas"),
        replace(PRODUCTION, project="/srv/moved"),
        replace(PRODUCTION, project="/srv/unnamed", name=""),
    ],
    ids=["pipeline", "moved", "unnamed"],
)
def test_same_environment_is_replaced_only_on_request(server: Variables, mine: Owner) -> None:
    before = dict(server.values)
    with pytest.raises(OwnershipError, match=r"belongs to pipeline 'credit'.* Nothing was changed.*--take-over"):
        claimed(server, mine)
    assert server.values == before
    label, [line] = claimed(server, mine, take_over=True)
    assert label == ""
    assert "before: pipeline 'credit', environment 'production', project /srv/credit" in line
    assert claimed(server, mine)[1] == []


def test_take_over_of_labelled_environment_keeps_its_names_and_the_first_owner(server: Variables) -> None:
    claimed(server, STAGING)
    moved = replace(STAGING, project="/srv/moved")
    assert claimed(server, moved, take_over=True)[0] == "staging"
    assert claimed(server, PRODUCTION) == ("", [])


def test_take_over_without_record_replaces_first_owner(server: Variables) -> None:
    assert claimed(server, STAGING, take_over=True)[0] == ""
    assert claimed(server, STAGING) == ("", [])


def test_exclusive_rejects_another_first_owner(server: Variables) -> None:
    with pytest.raises(OwnershipError, match="Use another Prefect server"):
        claimed(server, STAGING, exclusive=True)
    claimed(server, STAGING)
    with pytest.raises(OwnershipError, match="Use another Prefect server"):
        claimed(server, STAGING, exclusive=True)
    assert claimed(server, PRODUCTION, exclusive=True) == ("", [])


def test_record_of_earlier_release_is_kept_and_completed() -> None:
    server = Variables({"ai_workflow_owner": LEGACY})
    with pytest.raises(OwnershipError, match="deploy the first one again"):
        claimed(server, Owner("sales", "production", "/srv/sales", "sales"))
    assert claimed(server, PRODUCTION)[0] == ""
    assert claimed(server, PRODUCTION)[1] == []
    assert claimed(server, Owner("sales", "production", "/srv/sales", "sales"))[0] == "sales-production"


def test_labels_that_are_equal_are_rejected(server: Variables) -> None:
    claimed(server, replace(PRODUCTION, environment="eu_1"))
    with pytest.raises(OwnershipError, match="environment 'eu_1'"):
        claimed(server, replace(PRODUCTION, environment="eu-1"))


def test_existing_deployments_of_new_label_are_rejected(server: Variables) -> None:
    deployment: Any = SimpleNamespace(name="credit-staging", pull_steps=None, parameters={}, tags=[])
    with pytest.raises(OwnershipError, match="deployment credit-staging"):
        claimed(server, STAGING, existing=[(deployment, {"pull_steps": []})])
    assert list(server.values) == ["ai_workflow_owner"]


@pytest.mark.parametrize("value", ["text", {"pipeline": "credit"}, {**LEGACY, "unknown": 1}])
def test_unreadable_record_is_rejected(value: Any) -> None:
    with pytest.raises(OwnershipError, match="Variable ai_workflow_owner does not name"):
        claimed(Variables({"ai_workflow_owner": value}), PRODUCTION)


def test_variable_of_other_owner_keeps_its_value() -> None:
    server = Variables()
    client: Any = server
    for label, value, expected in (("", "a", "a"), ("staging", "b", "a"), ("", "c", "c")):
        lines, problems = asyncio.run(variables.apply(client, {"site": value}, label))
        assert server.values["site"] == expected
        assert bool(problems) == (label == "staging")
        assert bool(lines) != bool(problems)
    assert asyncio.run(variables.apply(client, {"zone": 1}, "staging"))[1] == []
    assert asyncio.run(variables.apply(client, {"zone": 2}, "staging")) == (["variable zone: changed"], [])
    [problem] = asyncio.run(variables.apply(client, {"zone": 3}, ""))[1]
    assert "belongs to another project or environment" in problem


def test_labelled_entry_has_its_own_name_tag_and_work_pool() -> None:
    entry = Entry({"name": "credit", "tags": ["ai-workflow", "a"], "work_pool": {"name": "ai-workflow"}})
    assert entry.labeled("") is entry
    labelled = entry.labeled("staging")
    assert labelled.name == "credit-staging"
    assert labelled.get("tags") == ["a", "ai-workflow:staging"]
    assert labelled.get("work_pool") == {"name": "ai-workflow-staging"}
    own_pool = Entry({"name": "x", "work_pool": {"name": "gpu", "work_queue_name": "a"}}).labeled("staging")
    assert own_pool.get("work_pool") == {"name": "gpu", "work_queue_name": "a"}
    assert own_pool.get("tags") == ["ai-workflow:staging"]


@pytest.mark.parametrize(
    ("label", "run", "is_own"),
    [
        ("", {"deployment": True, "tags": ["ai-workflow"]}, True),
        ("", {"deployment": True, "tags": ["ai-workflow:staging", "environment:development"]}, False),
        ("staging", {"deployment": True, "tags": ["ai-workflow:staging"]}, True),
        ("staging", {"deployment": True, "tags": ["ai-workflow"]}, False),
        ("", {"tags": ["environment:development"]}, True),
        ("", {"tags": []}, True),
        ("", {"tags": ["environment:staging"]}, False),
        ("", {"parameters": {"environment": "staging"}}, False),
        (None, {"deployment": True, "tags": ["ai-workflow", "environment:staging"]}, False),
        (None, {"deployment": True, "tags": ["ai-workflow:staging", "environment:development"]}, True),
    ],
)
def test_recovery_acts_on_runs_of_its_owner(label: str | None, run: dict[str, Any], is_own: bool) -> None:
    flow_run = FlowRun(
        flow_id="00000000-0000-0000-0000-000000000001",  # type: ignore[arg-type]
        deployment_id="00000000-0000-0000-0000-000000000002" if run.pop("deployment", False) else None,  # type: ignore[arg-type]
        **run,
    )
    client: Any = None
    runs = RunLookup(client, loader.load(None).settings, None, "", label)
    assert runs.is_own(flow_run) is is_own


def test_label_is_read_from_tags() -> None:
    assert owner_label.of(["ai-workflow", "owner:a/b"]) == ""
    assert owner_label.of(["x", owner_label.tag("staging")]) == "staging"
    assert owner_label.name("training/credit", "staging") == "training/credit-staging"
