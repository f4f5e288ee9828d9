"""A person at the Prefect UI of `make up`: sees the deployments, names a chat, trains, looks, and lets old versions go.

`make screenshots` keeps what it showed, for the README.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests import prefect_retry
from tests.deploy.running_stack import RunningStack, in_folder, until
from tests.flows.conftest import page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
__all__ = ["page"]
GRAFANA = "https://grafana.example.com"
# Two versions and the one that is in use are enough to let one go.
SITE = {
    "retention": {"versions": 1, "min_age_hours": 0},
    "trainer": {"steps": 30},
    "monitoring": {"grafana_url": GRAFANA},
}
KEPT = os.environ.get("AIW_SCREENSHOTS")
SCHEDULES = {"recovery": "Every 1 minute", "promotion": "Every 10 minutes", "evaluation": "Every 15 minutes"}
NAMES = ("training", "scoring", "evaluation", "promotion", "reaction", "retention", "recovery", "drill")


@pytest.fixture(scope="module")
def stack(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with in_folder(tmp_path_factory.mktemp("stack"), SITE) as found:
        found.up()
        yield found


def test_ui_shows_deployments_with_schedules(page: Page, stack: RunningStack) -> None:
    page.goto(f"{stack.url('server')}/v2/deployments")

    for name in NAMES:
        page.get_by_role("link", name=name, exact=True).first.wait_for()
    ids = {each["name"]: each["id"] for each in _all(stack, "deployments")}
    for name, schedule in SCHEDULES.items():
        page.goto(f"{stack.url('server')}/v2/deployments/deployment/{ids[name]}")
        page.get_by_text(schedule).first.wait_for()
    page.goto(f"{stack.url('server')}/v2/deployments/deployment/{ids['training']}?tab=Description")
    dashboard = page.get_by_role("link", name="dashboard", exact=True).first
    assert str(dashboard.get_attribute("href")).startswith(f"{GRAFANA}/d/ai-workflow-pipelines")
    page.get_by_role("link", name="model card").first.wait_for()


def test_chat_channel_block_is_created_in_ui_form(page: Page, stack: RunningStack) -> None:
    page.goto(f"{stack.url('server')}/v2/blocks/catalog/chat-channel/create")

    page.get_by_text("The URL of the bot, as shown by the vendor.").wait_for()
    page.get_by_text("A chat channel of the alert relay").wait_for()
    form = page.locator("form")
    form.get_by_role("textbox").first.fill("on-call")
    form.get_by_role("button", name="Select Kind").click()
    page.get_by_role("option", name="dingtalk").click()
    form.get_by_role("textbox", name="URL").fill("https://oapi.dingtalk.com/robot/send?access_token=t-0815")
    form.get_by_role("tab", name="password").click()
    form.get_by_role("tabpanel", name="password").get_by_role("textbox").fill("SEC-0815")
    _keep(page, "block")
    prefect_retry.press(page, "/block_documents/", form.get_by_role("button", name="Save"))
    page.get_by_text("on-call").first.wait_for()

    [block] = _all(stack, "block_documents", include_secrets=True, block_documents={"name": {"any_": ["on-call"]}})
    assert block["data"] == {
        "kind": "dingtalk", "secret": "SEC-0815", "url": "https://oapi.dingtalk.com/robot/send?access_token=t-0815",
    }  # fmt: skip


def test_training_with_custom_parameters_is_started_in_ui_and_served(page: Page, stack: RunningStack) -> None:
    [deployment] = _all(stack, "deployments", deployments={"name": {"any_": ["training"]}})
    page.goto(f"{stack.url('server')}/v2/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("settings that win over every file").wait_for()
    page.get_by_text("development", exact=True).first.wait_for()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.type('{"trainer.seed": 7}')
    _keep(page, "training")
    prefect_retry.press(page, "/create_flow_run", page.get_by_role("button", name="Submit"))

    run = until(lambda: _completed(stack, "training"))
    empty = {"config": "", "traceparent": "", "log_level": ""}
    assert run["parameters"] == {**empty, "environment": "development", "overrides": {"trainer.seed": 7}}
    assert until(lambda: stack.serving()["serving"], lambda version: version == "model_v1.0")
    for seed in (8, 9):
        given = json.dumps({"trainer.seed": seed})
        stack.prefect("deployment", "run", "training/training", "--param", f"overrides={given}")


def test_run_page_shows_name_tags_graph_and_trace(page: Page, stack: RunningStack) -> None:
    page.goto(stack.url("server"))
    page.wait_for_url("**/v2/**")
    run = _completed(stack, "training")
    assert run
    page.goto(f"{stack.url('server')}/v2/runs/flow-run/{run['id']}")

    page.get_by_text(run["name"]).first.wait_for()
    short = run["name"].removeprefix("training sample ")
    assert re.fullmatch("[0-9a-f]{8}", short)
    page.get_by_text("kind:work").first.wait_for()
    page.get_by_text(f"trace={short}").first.wait_for()
    page.locator("canvas").first.wait_for()
    _keep(page, "run")
    page.goto(f"{stack.url('server')}/v2/runs")
    page.get_by_text(run["name"]).first.wait_for()


def test_ui_artifacts_include_trace_and_model_card(page: Page, stack: RunningStack) -> None:
    run = _completed(stack, "training")
    assert run
    kinds = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    found = until(
        lambda: {each["key"]: each["id"] for each in _all(stack, "artifacts", **kinds)}, lambda had: len(had) > 2
    )
    assert "sample-dashboard" in found

    page.goto(f"{stack.url('server')}/v2/artifacts/artifact/{found['sample-training-trace']}")
    page.get_by_text("feature_engineering").first.wait_for()
    page.get_by_text("model_v1.0 published").first.wait_for()
    # As the description of the deployment links to them.
    page.goto(f"{stack.url('server')}/artifacts/key/sample-model-card")
    page.get_by_text(run["name"]).first.wait_for()
    page.goto(f"{stack.url('server')}/v2/artifacts/artifact/{found['sample-model-card']}")
    page.get_by_role("heading", name="sample · model_v1.0").wait_for()
    page.get_by_role("img", name="confusion").wait_for()
    _keep(page, "card")


def test_approved_retention_in_ui_deletes_old_versions(page: Page, stack: RunningStack) -> None:
    registry = Registry(Store(stack.place.var), "models/development/sample")
    until(registry.versions, lambda found: found == ["model_v1.0", "model_v1.1", "model_v1.2"])
    until(lambda: stack.serving()["serving"], lambda version: version == "model_v1.2")
    _open(page, stack, "retention")
    run = page.get_by_role("button", name="Run", exact=True)
    prefect_retry.press(page, "/create_flow_run", run, page.get_by_text("Quick run"))

    paused = until(lambda: _runs(stack, "retention", "PAUSED"))
    assert paused[0]["state"]["state_details"]["deployment_concurrency_lease_id"] is None, "a lease ends who waits"
    page.goto(f"{stack.url('server')}/v2/runs/flow-run/{paused[0]['id']}")
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_text("Delete 1 version (model_v1.1)").wait_for()
    form.get_by_role("switch").click()
    form.locator("textarea").fill("seen in the UI")
    _keep(page, "retention")
    answer = prefect_retry.press(page, "/resume", form.get_by_role("button", name="Resume"))
    assert answer["status"] == "ACCEPT", answer

    until(registry.versions, lambda found: found == ["model_v1.0", "model_v1.2"])
    until(lambda: _completed(stack, "retention"))


def _open(page: Page, stack: RunningStack, name: str) -> None:
    page.goto(f"{stack.url('server')}/deployments")
    page.get_by_role("link", name=name, exact=True).first.click()


def _keep(page: Page, name: str, part: Locator | None = None) -> None:
    """Keep what is shown, where that is asked for; what is still being drawn is waited for."""
    if KEPT:
        page.wait_for_timeout(700)
        (part or page).screenshot(path=Path(KEPT) / f"{name}.png")


def _completed(stack: RunningStack, flow: str) -> dict[str, Any] | None:
    return next(iter(_runs(stack, flow, "COMPLETED")), None)


def _runs(stack: RunningStack, flow: str, state: str) -> list[dict[str, Any]]:
    return _all(
        stack, "flow_runs", sort="START_TIME_ASC", flows={"name": {"any_": [flow]}},
        flow_runs={"state": {"type": {"any_": [state]}}},
    )  # fmt: skip


def _all(stack: RunningStack, kind: str, **asked: object) -> list[dict[str, Any]]:
    with prefect_retry.client(f"{stack.url('server')}/api") as client:
        found: list[dict[str, Any]] = client.post(f"/{kind}/filter", json=asked).raise_for_status().json()
        return found
