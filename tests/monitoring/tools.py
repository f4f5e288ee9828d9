"""Prometheus' and Alertmanager's own checkers, and promtool's tests on rules other than the committed ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import yaml

from monitoring.build import GENERATED

RULES = GENERATED / "prometheus" / "rules"
TESTS = GENERATED / "prometheus" / "tests"


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool; skips the test where it is missing."""
    package = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name]
    if shutil.which(name) is None:
        pytest.skip(f"no {name}: apt-get install {package}")
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=False)


def groups() -> dict[str, list[dict[str, object]]]:
    """Return the committed rules by their group."""
    return {path.stem: yaml.safe_load(path.read_text())["groups"][0]["rules"] for path in sorted(RULES.glob("*.yaml"))}


def noticed(changed: Mapping[str, list[dict[str, object]]], folder: Path, first: Iterable[str] = ()) -> str:
    """Return the name of a committed test that fails on these groups of rules, empty if none does.

    Args:
        folder: an empty one.
        first: names of tests to begin with.
    """
    for name, rules in changed.items():
        path = folder / "rules" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": rules}]}, sort_keys=False))
    (folder / "tests").mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys([*first, *sorted(path.stem for path in TESTS.glob("*.yaml"))])
    for name in names:
        path = TESTS / f"{name}.yaml"
        if not path.exists() or not any(f"/rules/{group}.yaml" in path.read_text()[:400] for group in changed):
            continue
        copy = folder / "tests" / path.name
        shutil.copyfile(path, copy)
        if run("promtool", "test", "rules", copy).returncode:
            return name
    return ""
