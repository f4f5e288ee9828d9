"""What containers call besides the parts themselves: the health check, and the bucket that MinIO begins without."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ai_workflow.local import health
from tests.services import LOOPBACK, free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


class _Answering(BaseHTTPRequestHandler):
    """Health under /ok and /ill; below /s3 buckets that can be looked for and made."""

    buckets: set[str]

    def do_GET(self) -> None:
        if self.path.startswith("/s3-"):
            self._bucket()
        elif self.path == "/slow":
            threading.Event().wait(2)
            self._answer(200)
        else:
            self._answer({"/ok": 200, "/ill": 503}.get(self.path, 404))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.buckets.add(self.path.strip("/"))
        self._answer(200)

    def _bucket(self) -> None:
        name = self.path.strip("/").partition("?")[0]
        body = b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
        self._answer(
            200 if name in self.buckets else 404, body if self.command == "GET" and name in self.buckets else b""
        )

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Iterator[tuple[str, set[str]]]:
    buckets: set[str] = set()
    handler = type("Answering", (_Answering,), {"buckets": buckets})
    server = ThreadingHTTPServer((LOOPBACK, 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}", buckets
    finally:
        server.shutdown()
        server.server_close()


def test_successful_response_is_healthy() -> None:
    with answering() as (address, _):
        assert health.problem(f"{address}/ok") is None


@pytest.mark.parametrize(("path", "said"), [("/ill", "answers 503"), ("/nothing", "answers 404")])
def test_unsuccessful_response_is_reported(path: str, said: str) -> None:
    with answering() as (address, _):
        assert said in str(health.problem(f"{address}{path}"))


def test_health_check_timeout_is_reported() -> None:
    with answering() as (address, _):
        assert "does not answer" in str(health.problem(f"{address}/slow", seconds=0.2))
    assert "does not answer" in str(health.problem(f"http://{LOOPBACK}:{free_port()}/ok"))


def test_health_check_ignores_proxy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{free_port()}")
    with answering() as (address, _):
        assert health.problem(f"{address}/ok") is None


def test_non_http_url_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(["file:///etc/passwd"]) == 1
    assert "is not a URL" in capsys.readouterr().err
    assert health.main([]) == 2


def test_health_check_exit_code_reflects_status() -> None:
    command = [sys.executable, "-m", "ai_workflow.local.health"]
    with answering() as (address, _):
        asked = [subprocess.run([*command, address + path], check=False, cwd=ROOT) for path in ("/ok", "/ill")]
    assert [one.returncode for one in asked] == [0, 1]


def bucket(address: str, name: str) -> subprocess.CompletedProcess[str]:
    keys = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "ai-workflow", "AWS_SECRET_ACCESS_KEY": "canary-of-minio"}
    keys |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1", "AWS_CONFIG_FILE": os.devnull}
    command = [sys.executable, "-m", "ai_workflow.provisioning.storage_bucket", name]
    return subprocess.run(command, cwd=ROOT, env=os.environ | keys, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_bucket_creation_is_idempotent() -> None:
    with answering() as (address, buckets):
        first, second = bucket(address, "s3-models"), bucket(address, "s3-models")

    assert (first.stdout, second.stdout) == ("bucket s3-models: created\n", "bucket s3-models: exists already\n")
    assert buckets == {"s3-models"}


@pytest.mark.slow
def test_unreachable_object_store_error_contains_no_secret() -> None:
    found = bucket(f"http://{LOOPBACK}:{free_port()}", "s3-models")

    assert found.returncode == 1
    assert "Look at AWS_ENDPOINT_URL" in found.stderr
    assert "canary-of-minio" not in found.stdout + found.stderr
