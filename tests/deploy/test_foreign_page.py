"""A page of another site in a real browser beside `make up`: it reads nothing, and starts nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tests import prefect_retry
from tests.deploy.foreign_page import ADD, ASK, LISTEN, SUBMIT, silence, site
from tests.deploy.running_stack import RunningStack, in_folder
from tests.flows.conftest import FLAGS, PATIENCE_MS
from tests.monitoring.relay.running_relay import alert, webhook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
REBOUND = "rebound.example"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack without any login or token, as `make up` starts it."""
    with in_folder(tmp_path_factory.mktemp("stack")) as found:
        found.up()
        yield found


@pytest.fixture(scope="module")
def foreign(chromium: Path) -> Iterator[Any]:
    """A page of another port of this machine, in a browser that finds a rebinding site on this machine."""
    with site() as port, sync_playwright() as playwright:
        flags = [*FLAGS, f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"http://localhost:{port}/")
        yield page
        browser.close()


def _requests(stack: RunningStack, deployment: str) -> dict[str, str | None]:
    """Return what the page asks for: a URL with the body to post, None to read."""
    api, service, relay = f"{stack.url('server')}/api", stack.url("service"), stack.url("relay")
    return {
        f"{api}/csrf-token?client=page": None,
        f"{api}/admin/settings": None,
        f"{api}/deployments/filter": "{}",
        f"{api}/block_documents/filter": '{"include_secrets": true}',
        f"{api}/deployments/{deployment}/create_flow_run": '{"name": "started-by-a-page"}',
        f"{api}/variables/": '{"name": "made_by_a_page", "value": 1}',
        f"{service}/predict": '{"rows": [{}]}',
        f"{service}/labels": '{"labels": [{"prediction_id": "p", "label": "x"}]}',
        f"{service}/admin/drain": "{}",
        f"{service}/metrics": None,
        f"{stack.url('exporter')}/metrics": None,
        f"{relay}/metrics": None,
        f"{relay}/alertmanager": _ALERT,
        **_watching(stack),
    }


def _watching(stack: RunningStack) -> dict[str, str | None]:
    """Return what the page asks of Prometheus and Alertmanager, through their guards and past them."""
    names = {service.name for service in stack.options.services}
    found: dict[str, str | None] = {}
    for name in sorted(names & {"prometheus", "prometheus-guard"}):
        found |= {f"{stack.url(name)}/api/v1/query?query=up": None, f"{stack.url(name)}/metrics": None}
    for name in sorted(names & {"alertmanager", "alertmanager-guard"}):
        base = stack.url(name)
        found |= {f"{base}/api/v2/alerts": None, f"{base}/api/v1/silences": silence(), f"{base}/-/reload": "{}"}
        found[f"{base}/api/v2/silences"] = silence()
    return found


def _open_silences(stack: RunningStack) -> list[Any]:
    """Return the silences that Alertmanager has and that have not ended."""
    if not any(service.name == "alertmanager" for service in stack.options.services):
        return []
    url = f"{stack.url('alertmanager-guard')}/api/v2/silences"
    silences = httpx.get(url, auth=stack.login, trust_env=False, timeout=60).raise_for_status().json()
    return [each for each in silences if each["status"]["state"] != "expired"]


_ALERT = httpx.Request("POST", "http://x", json=webhook(alert())).content.decode()


def _deployment(stack: RunningStack) -> str:
    with prefect_retry.client(f"{stack.url('server')}/api") as api:
        found: list[dict[str, Any]] = api.post("/deployments/filter", json={}).raise_for_status().json()
    return str(next(each["id"] for each in found if each["name"] == "drill"))


def _untouched(stack: RunningStack) -> None:
    with prefect_retry.client(f"{stack.url('server')}/api") as api:
        runs = api.post("/flow_runs/filter", json={}).raise_for_status().text
        variables = api.post("/variables/filter", json={}).raise_for_status().text
    assert "started-by-a-page" not in runs
    assert "made_by_a_page" not in variables
    metrics = httpx.get(f"{stack.url('relay')}/metrics", trust_env=False, timeout=60).text
    assert 'alert_webhook_total{result="delivered",source="alertmanager"} 0.0' in metrics
    assert httpx.get(f"{stack.url('service')}/v2/health/live", trust_env=False, timeout=60).status_code == 200
    assert _open_silences(stack) == []


def test_cross_origin_page_cannot_read_or_write(stack: RunningStack, foreign: Any) -> None:
    for url, body in _requests(stack, _deployment(stack)).items():
        for kind, _, text in foreign.evaluate(ASK, [url, body]):
            assert (kind, text) in (("failed", ""), ("opaque", "")), url
    _untouched(stack)


def test_dns_rebinding_site_cannot_read_or_write(stack: RunningStack, foreign: Any) -> None:
    deployment = _deployment(stack)
    # Its page comes from the port of the server itself, so that the browser takes all of it for one origin.
    guards = [service.name for service in stack.options.services if service.guards]
    for name in ("server", "service", "relay", "exporter", *guards):
        base = stack.url(name)
        rebound = base.replace("127.0.0.1", REBOUND)
        page = foreign.context.browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(rebound)
        assert "not a name of this server" in page.content(), name
        for url, body in _requests(stack, deployment).items():
            if url.startswith(base):
                for kind, ok, text in page.evaluate(ASK, [url.replace(base, rebound), body]):
                    assert not ok, url
                    assert kind == "failed" or "is not a name of this server" in text, url
        page.close()
    _untouched(stack)


@contextmanager
def _logged_in(stack: RunningStack, foreign: Any) -> Iterator[Any]:
    """Give a page in the browser of an operator who has logged in to Prometheus and Alertmanager."""
    user, password = stack.login
    context = foreign.context.browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    for service in stack.options.services:
        if service.guards:
            url = f"{stack.url(service.name)}/-/ready"
            page.goto(url.replace("//", f"//{user}:{password}@", 1))
            page.goto(url)
            # The browser has kept the login: this address does not hold it.
            assert page.evaluate("async url => (await fetch(url)).status", url) == 200
    yield page
    context.close()


def _submit(context: Any, origin: str, url: str, body: str) -> None:
    """Have a page of a site send a form, and wait for the end of the request, whatever the answer is."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(origin)
    ended: list[str] = []
    for event in ("requestfinished", "requestfailed"):
        page.on(event, lambda request: ended.append(request.url))
    page.evaluate(SUBMIT, [url, body])
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while url not in ended:
        assert time.monotonic() < deadline, url
        page.wait_for_timeout(20)
    page.close()


def test_cross_origin_page_with_operator_login_cannot_read_or_write(stack: RunningStack, foreign: Any) -> None:
    """A login alone is not enough: the browser sends it along with a form of any page."""
    with _logged_in(stack, foreign) as page:
        for url, body in _watching(stack).items():
            page.goto(foreign.url)
            for kind, _, text in page.evaluate(ASK, [url, body]):
                assert (kind, text) in (("failed", ""), ("opaque", "")), url
            if body is not None and "?" in body:
                _submit(page.context, foreign.url, url, body)
    _untouched(stack)


def test_dns_rebinding_site_is_unauthorized_without_login(stack: RunningStack, foreign: Any) -> None:
    with _logged_in(stack, foreign) as page:
        for name in (service.name for service in stack.options.services if service.requires_login):
            base = stack.url(name)
            rebound = base.replace("127.0.0.1", REBOUND)
            # The page comes from its own server; the name leads to this machine afterwards.
            page.route(f"{rebound}/page", lambda route: route.fulfill(body="<html></html>", content_type="text/html"))
            page.goto(f"{rebound}/page")
            for url, body in _watching(stack).items():
                if url.startswith(base):
                    for kind, ok, text in page.evaluate(ASK, [url.replace(base, rebound), body]):
                        assert not ok, url
                        assert kind == "failed" or text.strip() == "Unauthorized", url
    _untouched(stack)


def test_prometheus_and_alertmanager_cannot_be_framed(stack: RunningStack, foreign: Any) -> None:
    with _logged_in(stack, foreign) as page:
        for service in stack.options.services:
            if service.guards:
                page.goto(foreign.url)
                page.set_content(f'<iframe src="{stack.url(service.name)}/"></iframe>', wait_until="load")
                [frame] = page.frames[1:]
                assert "made by a page of another site" in frame.content(), service.name


def test_operator_can_log_in_and_add_silence(stack: RunningStack, foreign: Any) -> None:
    if not any(service.name == "alertmanager" for service in stack.options.services):
        pytest.skip("no Alertmanager: apt-get install prometheus-alertmanager")
    url = stack.url("alertmanager-guard")
    with _logged_in(stack, foreign) as page:
        page.goto(f"{url}/")
        added = page.evaluate(ADD, [f"{url}/api/v2/silences", silence()])
    assert [each["id"] for each in _open_silences(stack)] == [added["silenceID"]]
    removed = httpx.delete(f"{url}/api/v2/silence/{added['silenceID']}", auth=stack.login, trust_env=False)
    assert removed.status_code == 200


@pytest.mark.parametrize("path", ["events/out", "logs/out"])
def test_cross_origin_page_cannot_open_websocket(stack: RunningStack, foreign: Any, path: str) -> None:
    address = f"{stack.url('server').replace('http', 'ws', 1)}/api/{path}"
    assert foreign.evaluate(LISTEN, address) == "refused"
    assert foreign.evaluate(LISTEN, address.replace("127.0.0.1", REBOUND)) == "refused"


def test_same_origin_page_can_read_and_open_websocket(stack: RunningStack, foreign: Any) -> None:
    own = stack.url("server").replace("127.0.0.1", "localhost")
    page = foreign.context.browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{own}/ui-settings")

    [(kind, ok, text), *_] = page.evaluate(ASK, [f"{own}/api/csrf-token?client=page", None])
    assert (kind, ok, "token" in text) == ("basic", True, True)
    assert page.evaluate(LISTEN, f"{own.replace('http', 'ws', 1)}/api/events/out") == "open"
    page.close()
