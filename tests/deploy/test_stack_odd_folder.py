"""`make up` in a checkout with a path that configuration files, shells and patterns would misread."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ai_workflow.local.stack.services import SERVICES
from tests import services
from tests.deploy.running_stack import ROOT, RunningStack, in_folder, until

pytestmark = pytest.mark.integration

ODD = "a #1 ;b 50% %2F %(x)s $HOME 'q' \"d\" [x]* é"
FOLDERS = ("blocks", "config", "deploy", "flows", "monitoring", "src")


def checkout(folder: Path) -> Path:
    """Copy the project to a folder, and return it."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "prefect.yaml", folder)
    return folder


def rules(stack: RunningStack) -> int:
    """Return how many groups of rules Prometheus has read."""
    found = httpx.get(
        f"{stack.url('prometheus-guard')}/api/v1/rules", auth=stack.login, trust_env=False, timeout=60
    ).json()
    return len(found["data"]["groups"])


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_stack_runs_in_checkout_with_special_characters() -> None:
    with services.open_folder() as outer:
        # supervisord would take this file for its socket, and delete it.
        neighbour = outer / "a"
        neighbour.write_text("not of the stack")
        folder = checkout(outer / ODD)
        with in_folder(folder, PYTHONPATH=f"{folder / 'src'}:{folder}") as stack:
            said = stack.up()
            assert "deployment training/training: made" in said
            status = stack.command("status")
            assert status.returncode == 0, status.stdout
            if any(service.name == "prometheus" and service.program for service in SERVICES):
                files = list((ROOT / "monitoring" / "generated" / "prometheus" / "rules").iterdir())
                assert until(lambda: rules(stack)) >= len(files)
            stack.prefect("deployment", "run", "drill/drill", "--watch")
            database = folder / "var" / "prefect" / "prefect.db"
            assert database.stat().st_size > 0
            stack.down()
        assert neighbour.read_text() == "not of the stack"
        assert {path.name for path in outer.iterdir()} == {"a", ODD}


def test_make_quotes_shell_arguments(tmp_path: Path) -> None:
    """A file name is one argument, whatever characters are in it."""
    name = 'it\'s `touch x` "a" b.yaml'
    said = subprocess.run(
        ["make", "--dry-run", "deploy", f"PIPELINE={name}", "ENVIRONMENT=production"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    [line] = [line for line in said.replace("\\\n", "").splitlines() if "ai_workflow deploy" in line]
    shown = line.replace(".venv/bin/python", f"{sys.executable} -c 'import sys; print(sys.argv[1:])'")
    done = subprocess.run(["sh", "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(
        ["-m", "ai_workflow", "deploy", "--pipeline", name, "--environment", "production"]
    )
    assert not list(tmp_path.iterdir())
