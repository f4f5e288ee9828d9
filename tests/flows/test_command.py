"""`python -m flows` finds a server or says that there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import ports
from deploy.server import Server
from tests.flows.workplace import Workplace


def _command(place: Workplace, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in place.environment().items() if name != "PREFECT_API_URL"}
    environment["PREFECT_HOME"] = str(place.folder / "home")
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments], cwd=place.folder, env=environment, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_without_a_server_the_command_ends_in_one_line(tmp_path: Path) -> None:
    done = _command(Workplace(tmp_path), "training")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: no Prefect server: PREFECT_API_URL is not set. "
        "Start one with `make run` or `make up`, or set the variable\n"
    )


@pytest.mark.slow
def test_the_server_of_this_folder_is_found(prefect_server: Server, place: Workplace) -> None:
    (place.folder / "var").mkdir(exist_ok=True)
    home = ports.get(int(prefect_server.api_url.rsplit(":", 1)[1].split("/")[0]), "/api/admin/settings")
    assert home is not None
    (place.folder / "var" / "prefect").symlink_to(json.loads(home)["home"])
    done = _command(place, "training", "--config", "pipeline.yaml")
    assert done.returncode == 0, done.stderr
