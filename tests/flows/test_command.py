"""`ai-workflow run` finds a server or says that there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ai_workflow.cli.main import exit_code
from ai_workflow.local import ports
from ai_workflow.local.server import Server
from ai_workflow.prefect_errors import PrefectError, prefect_errors_wrapped
from tests.flows.workspace import Workplace

pytestmark = pytest.mark.integration


def _command(place: Workplace, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in place.environment().items() if name != "PREFECT_API_URL"}
    environment["PREFECT_HOME"] = str(place.folder / "home")
    return subprocess.run(
        [sys.executable, "-m", "ai_workflow", "run", *arguments], cwd=place.folder, env=environment, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_run_without_prefect_url_fails_with_single_line(tmp_path: Path) -> None:
    done = _command(Workplace(tmp_path), "training")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: no Prefect server: PREFECT_API_URL is not set. "
        "Start one with `make run` or `make up`, or set the variable\n"
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, "does not answer: connection refused. Start it, "),
        ("http://name.invalid:4200/api", "does not answer: the name of its host cannot be resolved. Start it, "),
        ("https://api.prefect.cloud.invalid.prefect.cloud/api/accounts/a/workspaces/b",
         "error: Prefect Cloud at api.prefect.cloud.invalid.prefect.cloud cannot be reached: "),
        ("http://[::1:9/api", "is not an http address. Correct it, "),
        ("http://127.0.0.1:x/api", "is not an http address. Correct it, "),
    ],
)  # fmt: skip
def test_unreachable_server_fails_with_single_line(
    url: str | None, why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url or f"http://127.0.0.1:{ports.find_free()}/api")
    monkeypatch.chdir(tmp_path)
    assert exit_code(["run", "training"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("error: ")
    assert why in line
    assert "Errno" not in line
    assert "urlopen" not in line


def test_server_stop_during_run_fails_with_single_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{ports.find_free()}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(PrefectError, match=f"{url} does not answer: connection refused"), prefect_errors_wrapped():
        httpx.get(f"{url}/health", trust_env=False, timeout=60)


@pytest.mark.slow
def test_log_level_option_sets_run_log_level(place: Workplace) -> None:
    wrong = place.start(
        ["-m", "ai_workflow", "run", "evaluation", "--pipeline", "pipeline.yaml", "--log-level", "loud"]
    )
    assert wrong.code == 2
    assert "--log-level 'loud' is not a level. Pass DEBUG" in wrong.output
    run = place.start(["-m", "ai_workflow", "run", "evaluation", "--pipeline", "pipeline.yaml", "--log-level", "debug"])
    assert run.code == 0, run.output
    assert run.ours("DEBUG")


@pytest.mark.slow
def test_run_command_finds_local_server(prefect_server: Server, place: Workplace) -> None:
    (place.folder / "var").mkdir(exist_ok=True)
    home = ports.get(int(prefect_server.api_url.rsplit(":", 1)[1].split("/")[0]), "/api/admin/settings")
    assert home is not None
    (place.folder / "var" / "prefect").symlink_to(json.loads(home)["home"])
    done = _command(place, "training", "--pipeline", "pipeline.yaml")
    assert done.returncode == 0, done.stderr
