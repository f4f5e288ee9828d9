"""The local Prefect server: started once, reused, replaced when it hangs, and stopped without a trace."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ai_workflow.local import ports, process, server
from ai_workflow.local.server import Server, ServerError
from tests import migrated_database
from tests.services import free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ENSURE = """
import sys
from pathlib import Path
from ai_workflow.local import server
print(server.ensure(Path(sys.argv[1])).pid)
"""


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an empty history; what was started in it is stopped."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(server, "PORT", free_port())
    monkeypatch.setattr(server, "HANG_SECONDS", 1.0)
    monkeypatch.setattr(process, "STOP_SECONDS", 2.0)
    migrated_database.seed(tmp_path / "prefect")
    yield tmp_path
    server.stop(tmp_path)


def test_server_is_started_reused_and_stopped_cleanly(var: Path) -> None:
    assert server.status(var) is None
    first = server.ensure(var)
    second = server.ensure(var)

    assert (first.started, second.started) == (True, False)
    assert first.pid == second.pid
    assert first.pid is not None
    assert first.api_url == f"http://127.0.0.1:{server.PORT}/api"
    assert server.status(var) == second
    status, page = _get(server.PORT, "/")
    assert (status, b"<html" in page) == (200, True)
    assert os.getsid(first.pid) == first.pid, "a closed terminal must not end it"

    assert server.stop(var)
    assert process.start_time(first.pid) is None
    assert not (var / "prefect" / "server.json").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.PORT)) != 0
    assert not server.stop(var)


@pytest.mark.parametrize(
    "seen",
    [pytest.param(True, marks=pytest.mark.slow), pytest.param(False, marks=pytest.mark.soak)],
    ids=["before", "while it starts"],
)
def test_used_port_makes_server_choose_other_port(var: Path, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not seen:
        # Prefect may end with other complaints after the one that counts.
        monkeypatch.setattr(server, "LOG_LINES", 1)
        monkeypatch.setattr(ports, "is_free", lambda _: True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.PORT))
        other.listen()
        found = server.ensure(var)

    assert found.started
    assert str(server.PORT) not in found.api_url


@pytest.mark.slow
@pytest.mark.soak
def test_foreign_server_with_login_on_port_is_not_reused(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 401)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setattr(ports, "is_free", lambda _: True)
    with ThreadingHTTPServer(("127.0.0.1", server.PORT), Guarded) as other:
        threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True).start()
        found = server.ensure(var)
        other.shutdown()

    assert str(server.PORT) not in found.api_url


@pytest.mark.slow
def test_recycled_pid_is_not_treated_as_server(var: Path) -> None:
    _write_state(var, pid=os.getpid(), born="1", port=server.PORT)

    assert server.status(var) is None
    assert not server.stop(var)

    _write_state(var, pid=os.getpid(), born="1", port=server.PORT)
    assert server.ensure(var).pid != os.getpid()


@pytest.mark.slow
@pytest.mark.soak
def test_hung_server_is_replaced(var: Path) -> None:
    hung = server.ensure(var)
    assert hung.pid is not None
    os.kill(hung.pid, signal.SIGSTOP)

    fresh = server.ensure(var)

    assert fresh.started
    assert fresh.pid != hung.pid
    assert process.start_time(hung.pid) is None


@pytest.mark.slow
@pytest.mark.soak
def test_damaged_state_file_is_ignored(var: Path) -> None:
    (var / "prefect" / "server.json").write_text('{"pid": 12')

    assert server.status(var) is None
    assert server.ensure(var).started


@pytest.mark.slow
@pytest.mark.soak
def test_concurrent_starts_create_single_server(var: Path) -> None:
    command = [sys.executable, "-c", ENSURE, str(var)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = {int(one.communicate(timeout=240)[0]) for one in both}

    found = server.status(var)

    assert found is not None
    assert pids == {found.pid}


@pytest.mark.slow
def test_server_does_not_inherit_ignored_sigint(var: Path) -> None:
    command = ["sh", "-c", 'trap "" INT; exec "$0" -c "$1" "$2"', sys.executable, ENSURE, str(var)]
    pid = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())

    assert int(lines["SigIgn"], 16) & (1 << (signal.SIGINT - 1)) == 0


@pytest.mark.parametrize("size", [0, 20_000], ids=["empty", "truncated"])
def test_damaged_database_is_set_aside_and_reported(var: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    database = var / "prefect" / "prefect.db"
    os.truncate(database, size)
    damaged = database.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_start", lambda home: Server("http://not-started/api"))
        server.ensure(var)

    assert (database.parent / "prefect.db.damaged-1").read_bytes() == damaged
    assert not database.exists()
    assert "history of runs is empty now" in caplog.text


@pytest.mark.slow
@pytest.mark.soak
def test_server_starts_after_database_damage(var: Path) -> None:
    (var / "prefect" / "prefect.db").write_bytes(b"not a database" * 1000)

    assert server.ensure(var).started


@pytest.mark.slow
def test_failed_server_start_error_has_log_tail(var: Path) -> None:
    with closing(sqlite3.connect(var / "prefect" / "prefect.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = 'from_the_future'")

    with pytest.raises(ServerError, match=r"did not start(.|\n)*from_the_future"):
        server.ensure(var)
    assert server.status(var) is None


def test_server_from_environment_url_is_used(prefect_server: Server, tmp_path: Path) -> None:
    found = server.ensure(tmp_path)

    assert (found.api_url, found.pid, found.started) == (prefect_server.api_url, None, False)
    assert not any(tmp_path.iterdir())


def test_unreachable_server_from_environment_raises_error(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")

    with pytest.raises(ServerError, match=r"does not answer.*unset"):
        server.ensure(var)


def test_server_module_does_not_import_prefect() -> None:
    code = "import sys, ai_workflow.local.server, ai_workflow.cli.stack; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def _get(port: int, path: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()


def _write_state(var: Path, **state: object) -> None:
    (var / "prefect" / "server.json").write_text(json.dumps(state))
