"""Variables on the command line of make: one that no target reads is an error."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
# Each variable, and the targets that read it.
READERS = {
    "PIPELINE": {"run", "score", "up", "serve", "deploy"},
    "STORE": {"run", "score", "up", "serve"},
    "ENVIRONMENT": {"run", "score", "up", "serve", "deploy"},
    "SOURCE": {"score"},
    "MODEL": {"score"},
    "DB": {"up"},
    "OFFSET": {"up"},
    "PORT": {"serve"},
    "PRUNE": {"deploy"},
    "UPGRADE": {"lock"},
    "CONFIGS": set[str](),
}
TARGETS = ("run", "score", "up", "down", "serve", "deploy", "stop", "status", "lock")


def dry_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", READERS)
def test_make_variable_unused_by_target_is_rejected(name: str) -> None:
    for target in TARGETS:
        done = dry_run(target, f"{name}=5")
        if target in READERS[name]:
            assert done.returncode == 0, done.stderr
            assert "5" in done.stdout or name in ("PRUNE", "UPGRADE")
        else:
            assert done.returncode == 2
            assert f"{name} has no effect on make {target}" in done.stderr


@pytest.mark.parametrize("name", ["OFFSET", "PIPELINE", "DB"])
def test_copied_make_up_variables_error_suggests_command(name: str) -> None:
    for target in ("down", "status", "stop"):
        line = f"finds what runs in this folder and needs no {name}. Write: make {target}"
        assert line in dry_run(target, f"{name}=100").stderr
    assert "needs no" not in dry_run("down", "CONFIGS=100").stderr
    assert "needs no" not in dry_run("lock", f"{name}=100").stderr


def test_program_variables_are_accepted_by_make() -> None:
    assert dry_run("run", "AIW_STORE=/srv/store", "PREFECT_LOGIN=a:b").returncode == 0
    assert dry_run("check-kill", "AIW_KILLS=5").returncode == 0


def test_programs_do_not_inherit_makeflags() -> None:
    probe = ("--eval=READS_probe := TESTS", "--eval=probe: ; @echo flags=$$MAKEFLAGS.")
    done = subprocess.run(
        ["make", "-s", *probe, "probe", "TESTS=x"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "flags=.\n"
