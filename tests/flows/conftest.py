"""Fixtures of the flow tests: every flow runs against the one server of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from ai_workflow.local.server import Server
from tests.flows import sample_tables
from tests.flows.workspace import Workplace

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 240_000


@pytest.fixture(scope="session")
def trained_once(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The place that `trained` copies, with its two runs; whoever asks for it leaves it as it is."""
    place = Workplace(tmp_path_factory.mktemp("trained"))
    for seed in (1, 2):
        sample_tables.write(place.folder / f"rows-{seed}.csv", sample_tables.rows(seed=seed))
    # An absolute path, so that copies of the place read the very same files.
    place.configure(source={"kind": "csv", "path": str(place.folder / "rows-*.csv")})
    place.runs = [place.train(), place.score()]
    for run in place.runs:
        assert run.code == 0, run.output
    return place


@pytest.fixture
def trained(trained_once: Workplace, tmp_path: Path) -> Workplace:
    """A place where two files were trained on and scored; each test has a copy."""
    return trained_once.copy(tmp_path)


@pytest.fixture
def place(prefect_server: Server, tmp_path: Path) -> Workplace:
    """A place with two source files and a pipeline file, where nothing has run."""
    place = Workplace(tmp_path)
    for seed in (1, 2):
        sample_tables.write(place.folder / f"rows-{seed}.csv", sample_tables.rows(seed=seed))
    place.configure()
    return place


@pytest.fixture(scope="module")
def page(chromium: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a browser that reaches nothing but this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        page.route(lambda url: "://127.0.0.1" not in url, lambda route: route.abort())
        failed = request.session.testsfailed
        yield page
        if request.session.testsfailed > failed:
            shown = tmp_path_factory.mktemp("page") / "page.png"
            page.screenshot(path=shown, full_page=True)
            print(f"what the browser showed: {shown}")
        browser.close()
