"""A peer is installed in its own environment, started, and ended with all its processes, or skipped with the reason."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import peer_environment, process_tree
from benchmarks.peer_environment import PeerUnavailableError
from benchmarks.running_server import cpus, running

pytestmark = pytest.mark.integration

SERVE = """
import http.server, subprocess, sys
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
print(other.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_failed_installation_is_skipped_with_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(PeerUnavailableError, match=r"not installed: .*missing-1\.0"):
        peer_environment.python("missing", ["./missing-1.0-py3-none-any.whl"])


def test_environment_is_cached_and_rebuilt_if_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ran: list[Sequence[str]] = []
    monkeypatch.setattr(peer_environment, "_run", lambda command: ran.append(command) or _touch(tmp_path, "peer"))

    for requirement in ("a==1", "a==1", "a==2"):
        assert peer_environment.python("peer", [requirement]).exists()
    assert len(ran) == 4
    (tmp_path / "ai-workflow-bench" / "peer" / "installed.txt").unlink()
    peer_environment.python("peer", ["a==2"])
    assert len(ran) == 6


def test_server_is_pinned_to_cpu_and_stopped_with_child_processes(tmp_path: Path) -> None:
    cpu, before = cpus()[0], os.sched_getaffinity(0)

    with running(lambda port, _: [sys.executable, "-c", SERVE, str(port)], "/ready", cpu, tmp_path / "s") as server:
        assert os.sched_getaffinity(server.pid) == {cpu}
        assert os.sched_getaffinity(0) == before
        other = int((tmp_path / "s.log").read_text().split()[0])
        assert set(process_tree.members(server.pid)) == {server.pid, other}

    assert _gone(server.pid)
    assert _gone(other)


def test_failed_server_start_is_skipped_with_last_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"]

    with (
        pytest.raises(PeerUnavailableError, match="not started, exit code 3: no luck"),
        running(lambda *_: command, "/", cpus()[0], tmp_path / "s"),
    ):
        pass


def _touch(cache: Path, name: str) -> None:
    (cache / "ai-workflow-bench" / name / "bin").mkdir(parents=True, exist_ok=True)
    (cache / "ai-workflow-bench" / name / "bin" / "python").touch()


def _gone(pid: int) -> bool:
    until = time.monotonic() + 240
    while time.monotonic() < until and Path(f"/proc/{pid}").exists():
        # One whose parent has not looked yet has ended all the same.
        if ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.01)
    return not Path(f"/proc/{pid}").exists()
