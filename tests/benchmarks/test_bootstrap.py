"""The bootstrap benchmark: it writes a file that can be deployed, and says whether the goals are met."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_workflow.provisioning import predeploy
from benchmarks.bootstrap import ROOT, render, write

pytestmark = pytest.mark.integration


def test_generated_deployment_file_is_valid_with_requested_count(tmp_path: Path) -> None:
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    added = write(tmp_path / "prefect.yaml", 20)
    names = [one.entry.name for one in predeploy.check(tmp_path / "prefect.yaml")]
    assert len(names) == 20
    assert set(added) < set(names)


def test_report_marks_missed_and_met_goals() -> None:
    shown = render({"first": [1.0, 2.0, 3.0], "again": [9.0, 11.0, 12.0]}, 50)
    assert "1.0     2.0     3.0 s   goal under 60 s: met" in shown
    assert "goal under 10 s: missed" in shown
