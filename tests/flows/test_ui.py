"""The Prefect UI, as a person sees it: the run with its stages, the trace table, the model card."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from ai_workflow.local.server import Server
from tests.flows.prefect_api import Api
from tests.flows.workspace import TRAINING, Run, Workplace

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(trained_once: Workplace) -> Run:
    return trained_once.runs[0]


def test_prefect_ui_shows_flow_and_stages(page: Page, run: Run, prefect_server: Server) -> None:
    page.goto(f"{prefect_server.ui_url}/runs/flow-run/{run.events[0].flow_run_id}")

    page.get_by_text("training").first.wait_for()
    page.get_by_text("Task Runs", exact=True).first.click()
    for stage in TRAINING:
        page.get_by_text(stage).first.wait_for()


def test_prefect_ui_shows_trace_table_artifact(page: Page, run: Run, prefect_server: Server) -> None:
    _open(page, prefect_server, run, "small-credit-training-trace")

    for event in run.events:
        if event.stage in TRAINING and event.message:
            page.get_by_text(event.message).first.wait_for()
            page.get_by_text(event.stage).first.wait_for()
    page.get_by_text("SUCCESS").first.wait_for()


def test_prefect_ui_shows_model_card_artifact(page: Page, run: Run, prefect_server: Server) -> None:
    _open(page, prefect_server, run, "small-credit-model-card")

    page.get_by_role("heading", name="small_credit · model_v1.0").wait_for()
    page.get_by_text("accuracy (judged)").first.wait_for()
    page.get_by_text("Gate:").first.wait_for()
    for plot in ("confusion", "features", "loss"):
        image = page.get_by_role("img", name=plot)
        image.wait_for()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def _open(page: Page, server: Server, run: Run, key: str) -> None:
    artifact = Api(server).artifacts(run.events[0].flow_run_id)[key]
    page.goto(f"{server.ui_url}/artifacts/artifact/{artifact['id']}")
