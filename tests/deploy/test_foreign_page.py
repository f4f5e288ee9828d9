"""A page of another site in a real browser beside `make up`: it reads nothing, and starts nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tests import patient
from tests.deploy.running_stack import RunningStack, in_folder
from tests.flows.conftest import FLAGS, PATIENCE_MS
from tests.monitoring.relay.running_relay import alert, webhook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
REBOUND = "rebound.example"
# What a page does with a request: the answer if it may read it, as a simple request and as one with JSON.
ASK = """async ([url, body]) => {
  const found = [];
  const ways = body === null ? [{}, {mode: 'no-cors'}]
    : [{method: 'POST', body, headers: {'content-type': 'application/json'}}, {method: 'POST', body},
       {method: 'POST', body, mode: 'no-cors'}];
  for (const way of ways) {
    try { const reply = await fetch(url, way); found.push([reply.type, reply.ok, await reply.text()]); }
    catch (error) { found.push(['failed', false, '']); }
  }
  return found;
}"""
LISTEN = """url => new Promise(done => {
  const socket = new WebSocket(url);
  socket.onopen = () => done('open');
  socket.onerror = () => done('refused');
})"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack without any login or token, as `make up` starts it."""
    with in_folder(tmp_path_factory.mktemp("stack")) as found:
        found.up()
        yield found


@contextmanager
def _site() -> Iterator[int]:
    """Serve an empty page, and give its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html></html>")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def foreign(chromium: Path) -> Iterator[Any]:
    """A page of another port of this machine, in a browser that finds a rebinding site on this machine."""
    with _site() as port, sync_playwright() as playwright:
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
    }


_ALERT = httpx.Request("POST", "http://x", json=webhook(alert())).content.decode()


def _deployment(stack: RunningStack) -> str:
    with patient.client(f"{stack.url('server')}/api") as api:
        found: list[dict[str, Any]] = api.post("/deployments/filter", json={}).raise_for_status().json()
    return str(next(each["id"] for each in found if each["name"] == "drill"))


def _untouched(stack: RunningStack) -> None:
    with patient.client(f"{stack.url('server')}/api") as api:
        runs = api.post("/flow_runs/filter", json={}).raise_for_status().text
        variables = api.post("/variables/filter", json={}).raise_for_status().text
    assert "started-by-a-page" not in runs
    assert "made_by_a_page" not in variables
    metrics = httpx.get(f"{stack.url('relay')}/metrics", trust_env=False).text
    assert 'alert_webhook_total{result="delivered",source="alertmanager"} 0.0' in metrics
    assert httpx.get(f"{stack.url('service')}/v2/health/live", trust_env=False).status_code == 200


def test_a_page_of_another_port_reads_and_starts_nothing(stack: RunningStack, foreign: Any) -> None:
    wanted = _requests(stack, _deployment(stack))
    if any(service.name == "prometheus" for service in stack.options.services):
        wanted[f"{stack.url('prometheus')}/api/v1/query?query=up"] = None
    for url, body in wanted.items():
        for kind, _, text in foreign.evaluate(ASK, [url, body]):
            assert (kind, text) in (("failed", ""), ("opaque", "")), url
    _untouched(stack)


def test_a_rebinding_site_reads_and_starts_nothing(stack: RunningStack, foreign: Any) -> None:
    deployment = _deployment(stack)
    # Its page comes from the port of the server itself, so that the browser takes all of it for one origin.
    for name in ("server", "service", "relay", "exporter"):
        base = stack.url(name)
        rebound = base.replace("127.0.0.1", REBOUND)
        page = foreign.context.browser.new_page()
        page.goto(rebound)
        assert "not a name of this server" in page.content(), name
        for url, body in _requests(stack, deployment).items():
            if url.startswith(base):
                for kind, ok, text in page.evaluate(ASK, [url.replace(base, rebound), body]):
                    assert not ok, url
                    assert kind == "failed" or "is not a name of this server" in text, url
        page.close()
    _untouched(stack)


@pytest.mark.parametrize("path", ["events/out", "logs/out"])
def test_a_page_of_another_port_opens_no_websocket(stack: RunningStack, foreign: Any, path: str) -> None:
    address = f"{stack.url('server').replace('http', 'ws', 1)}/api/{path}"
    assert foreign.evaluate(LISTEN, address) == "refused"
    assert foreign.evaluate(LISTEN, address.replace("127.0.0.1", REBOUND)) == "refused"


def test_the_page_of_the_server_itself_reads_and_opens_a_websocket(stack: RunningStack, foreign: Any) -> None:
    own = stack.url("server").replace("127.0.0.1", "localhost")
    page = foreign.context.browser.new_page()
    page.goto(f"{own}/ui-settings")

    [(kind, ok, text), _] = page.evaluate(ASK, [f"{own}/api/csrf-token?client=page", None])
    assert (kind, ok, "token" in text) == ("basic", True, True)
    assert page.evaluate(LISTEN, f"{own.replace('http', 'ws', 1)}/api/events/out") == "open"
    page.close()
