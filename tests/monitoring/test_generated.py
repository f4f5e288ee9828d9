"""What is committed under `generated/` is what `slo.yaml` says, to the byte, and Prometheus takes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.slo import build, reader
from tests.monitoring import prometheus_tools

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def test_generated_files_match_slo_yaml() -> None:
    built = build.files(reader.load())
    there = {str(path.relative_to(build.generated())): path.read_text() for path in build.generated().rglob("*.*")}

    changed = [name for name in sorted(built.keys() | there.keys()) if built.get(name) != there.get(name)]

    assert changed == [], "run `ai-workflow slo build` and commit what it writes"


@pytest.mark.slow
def test_slo_build_is_deterministic_across_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ai_workflow", "slo", "build", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "77"}, check=True, capture_output=True)

    for name, text in build.files(reader.load()).items():
        assert (tmp_path / name).read_bytes() == text.encode(), name


def test_slo_build_removes_stale_files(tmp_path: Path) -> None:
    (tmp_path / "prometheus" / "rules").mkdir(parents=True)
    (tmp_path / "prometheus" / "rules" / "old.yaml").touch()

    build.write({"prometheus/rules/new.yaml": "groups: []\n"}, tmp_path)

    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["new.yaml"]


def test_promtool_accepts_generated_rules() -> None:
    found = prometheus_tools.run(
        "promtool", "check", "rules", "--lint=all", "--lint-fatal", *sorted(prometheus_tools.RULES.glob("*.yaml"))
    )

    assert found.returncode == 0, found.stderr


def test_promtool_accepts_prometheus_config() -> None:
    found = prometheus_tools.run(
        "promtool", "check", "config", "--lint=all", prometheus_tools.RULES.parent / "prometheus.yml"
    )

    assert found.returncode == 0, found.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rule_unit_tests_pass() -> None:
    assert prometheus_tools.failing(sorted(prometheus_tools.TESTS.glob("*.yaml"))) == {}


def test_every_alert_has_unit_test() -> None:
    tried = {
        check["alertname"]
        for held in prometheus_tools.tests().values()
        for test in held["tests"]
        for check in test.get("alert_rule_test", [])
    }

    assert tried == {rule["alert"] for held in prometheus_tools.groups().values() for rule in held if "alert" in rule}
