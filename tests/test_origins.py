"""Host and Origin checks: which requests of browsers are refused, on each server of the project."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ai_workflow.http_server.origin_check import OriginError, OriginGuard, Origins
from ai_workflow.local.server import Server
from tests import cross_origin_requests
from tests.monitoring.exporter.exporter_stores import Exporting
from tests.monitoring.relay.running_relay import TOKEN, RunningRelay, alert, webhook
from tests.serving import published_models
from tests.serving.running_service import Running

BEHIND_PROXY = {"AIW_ALLOWED_ORIGINS": "https://prefect.example.com, http://relay:9110,"}
# Two of each kind: that a server has the check at all. What the check refuses is tried above.
SOME = ("script of another site", "DNS rebinding with its own origin")


def refusal(headers: dict[str, str], variables: dict[str, str] | None = None, method: str = "GET") -> str | None:
    """Return why a request to port 80 of this machine is refused."""
    given = {"host": "127.0.0.1"} | headers
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    return Origins.of(variables or {}).refusal(method, pairs)


@pytest.mark.parametrize("case", cross_origin_requests.FOREIGN)
@pytest.mark.parametrize("variables", [{}, BEHIND_PROXY], ids=["as shipped", "behind a proxy"])
def test_cross_site_request_is_rejected(case: str, variables: dict[str, str]) -> None:
    assert refusal(cross_origin_requests.FOREIGN[case], variables)


@pytest.mark.parametrize("case", cross_origin_requests.own("http://127.0.0.1:80"))
def test_same_origin_and_non_browser_requests_are_allowed(case: str) -> None:
    assert refusal(cross_origin_requests.own("http://127.0.0.1:80")[case]) is None


def test_cross_site_link_opens_page_but_posts_no_form() -> None:
    assert refusal(cross_origin_requests.link()) is None
    assert refusal(cross_origin_requests.link(), method="POST")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "prefect.example.com", "origin": "https://prefect.example.com"},
        {"host": "PREFECT.example.com.:443", "origin": "https://Prefect.example.com"},
        {"host": "127.0.0.1:4200", "origin": "https://prefect.example.com", "sec-fetch-site": "same-origin"},
        {"host": "relay:9110"},
    ],
)
def test_configured_origin_is_allowed_as_origin_and_host(headers: dict[str, str]) -> None:
    assert refusal(headers, BEHIND_PROXY) is None
    assert refusal(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://prefect.example.com"},
        {"origin": "https://prefect.example.com:8443"},
        {"origin": "https://prefect.example.com.elsewhere.example"},
        {"origin": "https://elsewhere.example#https://prefect.example.com"},
        {"host": "x@127.0.0.1"},
        {"host": "127.0.0.1, elsewhere.example"},
        {"host": "prefect.example.com.elsewhere.example"},
    ],
)
def test_similar_origin_is_rejected(headers: dict[str, str]) -> None:
    assert refusal(headers, BEHIND_PROXY)


def test_duplicate_host_header_is_rejected() -> None:
    assert Origins().refusal("GET", [(b"host", b"127.0.0.1"), (b"host", b"elsewhere.example")])


@pytest.mark.parametrize(
    "value", ["*", "prefect.example.com", "https://a.example/path", "https://u:p@a.example", "null"]
)
def test_invalid_origin_error_names_variable(value: str) -> None:
    with pytest.raises(OriginError, match=r"^AIW_ALLOWED_ORIGINS .*not an origin\. Write scheme://host"):
        Origins.of({"AIW_ALLOWED_ORIGINS": f"https://good.example,{value}"})


def test_lifespan_and_trusted_requests_are_not_checked() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> None:
        return None

    guard = OriginGuard(app, Origins(), lambda headers: True)
    asyncio.run(OriginGuard(app, Origins())({"type": "lifespan"}, nothing, nothing))
    asyncio.run(guard({"type": "http", "method": "GET", "headers": [(b"host", b"elsewhere")]}, nothing, nothing))
    assert seen == ["lifespan", "http"]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRelay]:
    """A relay that asks for no token."""
    with RunningRelay(tmp_path_factory.mktemp("relay"), [], {"token": None}, PREFECT_API_URL="") as found:
        yield found


# What a relay without a channel answers to an alert that it takes.
NO_CHANNEL = 422


def posted(relay: RunningRelay, headers: dict[str, str], path: str = "/alertmanager") -> int:
    return cross_origin_requests.status(f"{relay.http.base_url}{path}", headers, "POST", json=webhook(alert()))


@pytest.mark.integration
@pytest.mark.parametrize("path", ["/alertmanager", "/alertmanager/on-call", "/prefect"])
def test_cross_site_alert_post_is_rejected(relay: RunningRelay, path: str) -> None:
    assert [posted(relay, cross_origin_requests.FOREIGN[case], path) for case in SOME] == [403, 403]
    assert relay.metric("alert_webhook_total", result="delivered", source="alertmanager") == 0


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_non_json_alert_is_rejected(relay: RunningRelay, kind: str) -> None:
    answer = relay.http.post("/alertmanager", content=b"{}", headers={"content-type": kind} if kind else {})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]


@pytest.mark.integration
def test_non_browser_clients_post_alerts_and_read_metrics(relay: RunningRelay) -> None:
    assert posted(relay, {}) == NO_CHANNEL
    assert posted(relay, {"content-type": "application/json; charset=utf-8"}) == NO_CHANNEL
    assert cross_origin_requests.status(f"{relay.http.base_url}/metrics", {}) == 200
    assert (
        cross_origin_requests.status(f"{relay.http.base_url}/metrics", cross_origin_requests.FOREIGN["DNS rebinding"])
        == 403
    )


@pytest.mark.slow
def test_valid_token_allows_alert_from_any_host(tmp_path: Path) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    with RunningRelay(tmp_path, [], PREFECT_API_URL="") as relay:
        assert posted(relay, {"host": "alerts.example.com"} | bearer) == NO_CHANNEL
        assert posted(relay, {"host": "alerts.example.com"}) == 403
        assert posted(relay, {"authorization": "Bearer guess"}) == 401


@pytest.mark.slow
def test_cross_site_requests_to_service_are_rejected(tmp_path: Path) -> None:
    published_models.publish(tmp_path / "store", 0)
    with Running(published_models.pipeline(tmp_path), tmp_path / "store") as service:
        url = str(service.http.base_url)
        for path, body in (
            ("/predict", {"rows": [published_models.ROW]}),
            ("/labels", {"labels": []}),
            ("/admin/drain", {}),
        ):
            foreign = [
                cross_origin_requests.status(url + path, cross_origin_requests.FOREIGN[case], "POST", json=body)
                for case in SOME
            ]
            assert foreign == [403, 403], path
        for path in ("/v2/health/ready", "/metrics", "/openapi.json"):
            assert [cross_origin_requests.status(url + path, cross_origin_requests.FOREIGN[case]) for case in SOME] == [
                403,
                403,
            ], path
        own = [cross_origin_requests.status(f"{url}/predict", headers, "POST", json={"rows": [published_models.ROW]})
               for headers in cross_origin_requests.own(url).values()]  # fmt: skip
        assert set(own) == {200}


@pytest.mark.integration
def test_cross_site_exporter_metrics_request_is_rejected(tmp_path: Path) -> None:
    with Exporting(tmp_path) as exporter:
        url = f"http://127.0.0.1:{exporter.port}/metrics"
        assert {cross_origin_requests.status(url, headers) for headers in cross_origin_requests.FOREIGN.values()} == {
            403
        }
        assert {cross_origin_requests.status(url, headers) for headers in cross_origin_requests.own(url).values()} == {
            200
        }


@pytest.mark.parametrize("case", SOME)
def test_cross_site_requests_to_prefect_server_are_rejected(prefect_server: Server, case: str) -> None:
    url, headers = prefect_server.api_url, cross_origin_requests.FOREIGN[case]
    reads = ("/csrf-token?client=x", "/admin/settings", "/collections/views/aggregate-worker-metadata")
    assert {cross_origin_requests.status(url + path, headers) for path in reads} == {403}
    assert {
        cross_origin_requests.status(f"{url}/{path}", headers, "POST", json={})
        for path in ("deployments/filter", "flows/", "variables/")
    } == {403}
    preflight = headers | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert cross_origin_requests.status(f"{url}/flows/", preflight, "OPTIONS") == 403


def test_prefect_server_allows_own_page_by_each_host_name(prefect_server: Server) -> None:
    url = f"{prefect_server.api_url}/csrf-token?client=tests"
    assert {cross_origin_requests.status(url, headers) for headers in cross_origin_requests.own(url).values()} == {200}
    assert cross_origin_requests.status(f"{prefect_server.ui_url}/ui-settings", cross_origin_requests.link()) == 200


@pytest.mark.parametrize("path", ["events/out", "events/in", "logs/out", "task_runs/subscriptions/scheduled"])
def test_cross_site_websocket_is_rejected(prefect_server: Server, path: str) -> None:
    url = f"{prefect_server.api_url.replace('http', 'ws', 1)}/{path}"
    with pytest.raises(InvalidStatus, match="403"), connect(url, origin="http://elsewhere.example", proxy=None):  # type: ignore[arg-type]
        pass
    with connect(url, subprotocols=["prefect"], proxy=None):  # type: ignore[list-item]
        pass


def test_prefect_write_without_csrf_token_is_rejected(prefect_server: Server) -> None:
    assert cross_origin_requests.status(f"{prefect_server.api_url}/flows/filter", {}, "POST", json={}) == 403


def test_prefect_ui_cannot_be_framed_by_other_sites(prefect_server: Server) -> None:
    answer = httpx.get(prefect_server.ui_url, trust_env=False, timeout=60, follow_redirects=True)
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
