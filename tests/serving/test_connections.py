"""Raw connections: offers of other protocols, large heads, pipelines and trailers; one response per request."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.serving import published_models
from tests.serving.running_service import ROOT, Running, dumps

BODY = dumps([published_models.ROW])
OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n",
    b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"Upgrade: TLS/1.0, HTTP/2.0\r\nconnection: Upgrade\r\n",
    b"Connection: upgrade\r\nUpgrade: something-else/7\r\n",
    b"Connection: Upgrade\r\nConnection: close\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
]
ROUTES = [(b"POST", b"/predict", BODY, 200), (b"GET", b"/v2/health/live", b"", 200), (b"POST", b"/nowhere", b"{}", 404)]


def head(method: bytes, path: bytes, more: bytes = b"") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + more


def request(method: bytes, path: bytes, body: bytes, more: bytes = b"") -> bytes:
    return head(method, path, more) + b"Content-Length: %d\r\n\r\n" % len(body) + body


LAST = request(b"GET", b"/v2/health/live", b"", b"Connection: close\r\n")


def statuses(running: Running, *packets: bytes) -> list[int]:
    """Return the statuses of all responses on one connection until it is closed; a reset fails the test."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        for packet in packets:
            client.sendall(packet)
        while piece := client.recv(65_536):
            received += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.mark.integration
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
def test_protocol_upgrade_offer_is_answered_over_http_1(
    shared: Running, method: bytes, path: bytes, body: bytes, status: int, offer: bytes
) -> None:
    asked = request(method, path, body, offer)
    cut = len(asked) - len(body)
    expected = [status] if b"close" in offer else [status, 200]
    assert statuses(shared, asked + LAST) == expected
    assert statuses(shared, asked[:cut], asked[cut:] + LAST) == expected
    assert statuses(shared, *(asked[at : at + 1] for at in range(len(asked))), LAST) == expected


@pytest.mark.integration
def test_body_after_upgrade_offer_is_not_parsed_as_request(shared: Running) -> None:
    hidden = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for offer in OFFERS[:4]:
        asked = request(b"POST", b"/predict", hidden, offer)
        cut = len(asked) - len(hidden)
        assert statuses(shared, asked[:cut], asked[cut:], LAST) == [400, 200]


@pytest.mark.integration
def test_chunked_and_pipelined_upgrade_offers_get_single_response(shared: Running) -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    chunked = head(b"POST", b"/predict", OFFERS[0]) + chunks % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    plain = request(b"POST", b"/predict", BODY, OFFERS[1])
    assert statuses(shared, chunked + plain + chunked, plain + LAST) == [200] * 5
    assert statuses(shared, *(piece for piece in (chunked[:250], chunked[250:], plain, LAST))) == [200] * 3


@pytest.mark.integration
def test_connect_method_and_malformed_upgrade_are_rejected(shared: Running) -> None:
    assert statuses(shared, b"CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n\r\n") == [400]
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert statuses(shared, head(b"POST", b"/predict", OFFERS[0]) + both) == [400]


@pytest.mark.integration
@pytest.mark.parametrize(
    "more",
    [
        b"x: %b\r\n" % (b"y" * 100_000),
        b"x: %b\r\n" % (b"y" * (64 << 10)),
        b"x: y\r\n" * 5000,
        b"".join(b"x-%d: %b\r\n" % (number, b"y" * 1000) for number in range(68)),
        b"".join(b"x-%d: %b\r\n" % (number, b"y" * 1000) for number in range(90)),
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + b"x: y\r\n" * 5000,
    ],
)
def test_oversized_request_head_returns_431(shared: Running, more: bytes) -> None:
    assert statuses(shared, request(b"POST", b"/predict", BODY, more)) == [431]
    assert statuses(shared, request(b"GET", b"/" + b"p" * 100_000, b"")) == [431]
    assert statuses(shared, LAST) == [200]


@pytest.mark.integration
def test_request_head_of_usual_size_is_accepted(shared: Running) -> None:
    cookies = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 500) for number in range(60))
    assert statuses(shared, request(b"POST", b"/predict", BODY, cookies) + LAST) == [200, 200]


@pytest.mark.integration
def test_chunked_trailers_are_not_treated_as_headers(shared: Running) -> None:
    trailers = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (
        len(BODY), BODY, b"content-encoding: gzip\r\n" * 3000,
    )  # fmt: skip
    assert statuses(shared, head(b"POST", b"/predict") + trailers + LAST) == [200, 200]


@pytest.mark.integration
def test_thousands_of_pipelined_requests_are_all_answered(shared: Running) -> None:
    one = b"GET /v2/health/live HTTP/1.1\r\n\r\n"
    assert statuses(shared, one * 4000 + LAST) == [200] * 4001
    assert statuses(shared, (one + request(b"POST", b"/predict", BODY)) * 200 + LAST) == [200] * 401


@pytest.mark.integration
def test_garbage_after_request_does_not_change_response(shared: Running) -> None:
    assert statuses(shared, request(b"POST", b"/predict", BODY) + b"no request\r\n\r\n") == [200]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java: apt-get install default-jdk-headless")
@pytest.mark.timeout(900)
def test_jdk_http_client_with_defaults_is_served(shared: Running, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(BODY)
    source = ROOT / "tests" / "serving" / "JdkClient.java"
    done = subprocess.run(
        ["java", str(source), f"http://127.0.0.1:{shared.port}/predict", str(tmp_path / "body.json"), "5"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        status, _, answer = line.partition(" ")
        assert status == "200", line
        assert len(json.loads(answer)["predictions"]) == 1


@pytest.mark.integration
def test_unknown_paths_are_never_redirected(shared: Running) -> None:
    paths = (
        "/predict/",
        "/predict//",
        "/labels/",
        "/v2/health/live/",
        f"/v2/models/{published_models.PIPELINE}/infer/",
        "/metrics/",
    )
    for path in paths:
        for method in ("GET", "POST"):
            response = shared.http.request(method, path, headers={"host": "127.0.0.2"}, content=b"{}")
            assert response.status_code in (404, 405), path
            assert "location" not in response.headers


@pytest.mark.integration
@pytest.mark.parametrize(
    "headers",
    [
        b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n",
        b"Host: y\r\n",
        b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n",
        b"Inference-Header-Content-Length: 2\r\ninference-header-content-length: 3\r\n",
    ],
)
def test_duplicate_singleton_header_is_rejected(shared: Running, headers: bytes) -> None:
    assert statuses(shared, request(b"POST", b"/predict", BODY, headers) + LAST) == [400]
    assert statuses(shared, request(b"POST", b"/labels", b"{}", headers + OFFERS[0]) + LAST) == [400]


@pytest.mark.integration
def test_content_encoding_identity_is_case_insensitive(shared: Running) -> None:
    for value in (b"Identity", b"IDENTITY", b"identity"):
        header = b"Content-Encoding: " + value + b"\r\n"
        assert statuses(shared, request(b"POST", b"/predict", BODY, header) + LAST) == [200, 200]
        assert statuses(shared, request(b"POST", b"/labels", b"{}", header) + LAST) == [400, 200]


@pytest.mark.integration
def test_expired_client_timeout_skips_inference(shared: Running) -> None:
    inputs = [{"name": "features", "datatype": "FP32", "shape": [1, 8], "data": [1] * 8}]
    sent = {"inputs": inputs, "parameters": {"timeout": 1}}
    answer = shared.http.post(f"/v2/models/{published_models.PIPELINE}/infer", json=sent).json()
    assert answer["model_version"] == "default"
    assert answer["parameters"]["fallback"] is True
    assert "expired" in answer["parameters"]["fallback_reason"]
    assert (
        shared.http.post(f"/v2/models/{published_models.PIPELINE}/versions/latest/infer", json=sent).status_code == 504
    )
    assert shared.predict(published_models.ROW)["fallback"] is False, "the version is not to blame"


@pytest.mark.slow
def test_every_log_line_is_valid_json(tmp_path: Path, root: Path) -> None:
    pipeline = published_models.pipeline(
        tmp_path, logging={"format": "json"}, service={"prediction_log": {"enabled": True}}
    )
    with Running(pipeline, root) as running:
        running.http.post("/predict", json={"rows": [published_models.ROW | {"price": 1e300}] * 2})
        running.http.post(
            "/predict", json={"rows": [published_models.ROW | {"price": "1e300", "weight": "9" * 400}] * 40}
        )
        statuses(running, b"no request\r\n\r\n")
    assert running.log
    assert all(set(json.loads(line)) >= {"time", "level", "message"} for line in running.log), running.log
