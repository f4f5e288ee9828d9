"""The Prefect UI, as a person sees it: the run with its stages, the trace table, the model card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from deploy.server import Server
from tests.flows.api import Api
from tests.flows.workplace import TRAINING, Run, Workplace

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 30_000

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(trained_once: Workplace) -> Run:
    return trained_once.runs[0]


@pytest.fixture(scope="module")
def page(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of a browser that reaches nothing but this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        page.route(lambda url: "://127.0.0.1" not in url, lambda route: route.abort())
        yield page
        browser.close()


@pytest.fixture(autouse=True)
def _screenshot(page: Page, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        print(f"what the browser showed: {tmp_path / 'page.png'}")


def test_the_flow_and_its_stages_are_there(page: Page, run: Run, prefect_server: Server) -> None:
    page.goto(f"{prefect_server.ui_url}/runs/flow-run/{run.events[0].flow_run_id}")

    page.get_by_text("training").first.wait_for()
    page.get_by_text("Task Runs", exact=True).first.click()
    for stage in TRAINING:
        page.get_by_text(stage).first.wait_for()


def test_the_trace_is_a_table_among_the_artifacts(page: Page, run: Run, prefect_server: Server) -> None:
    _open(page, prefect_server, run, "small-credit-training-trace")

    for event in run.events:
        if event.stage in TRAINING and event.message:
            page.get_by_text(event.message).first.wait_for()
            page.get_by_text(event.stage).first.wait_for()
    page.get_by_text("SUCCESS").first.wait_for()


def test_the_model_card_is_among_the_artifacts(page: Page, run: Run, prefect_server: Server) -> None:
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
