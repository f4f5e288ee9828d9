"""The registry benchmark: it fills a registry that the real one takes for its own, and reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from benchmarks.registry import fill
from tests.registry_checks import is_sound

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def test_filled_registry_is_valid(tmp_path: Path) -> None:
    registry = Registry(Store(tmp_path), "models/development/sample")
    fill(registry, 5)
    assert registry.aliases() == {"latest": "model_v1.4", "stable": "model_v1.0"}
    assert not is_sound(registry)


def test_registry_benchmark_measures_and_reports(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "registry", "--versions", "8", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--json", tmp_path / "found.json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "8 versions, 1 rounds" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["aliases", "list", "prune --dry-run"]
    assert all(0 < least <= median <= most for least, median, most in found.values())
