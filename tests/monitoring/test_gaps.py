"""An exporter that is restarted is the end of no trouble: what it told stands until it is heard again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.monitoring import prometheus_tools

pytestmark = pytest.mark.integration

_LABELS = 'job="exporter",pipeline="credit"'
_ENDED = f"training_last_end_timestamp_seconds{{{_LABELS}}}"
_FAILED = f"training_last_run_failed{{{_LABELS}}}"


def _trial(tmp_path: Path, gap: int) -> str:
    """Have the exporter gone for so many minutes from the tenth on; return a letter a minute, `f` while it fires."""
    found = ""
    for minute in range(9, 20):
        exp = [{"labels": 'ALERTS{alertname="TrainingRunFailed",alertstate="firing"}', "value": 1}]
        check = {
            "expr": 'max by (__name__, alertname, alertstate) (ALERTS{alertname="TrainingRunFailed"})',
            "eval_time": f"{minute}m", "exp_samples": exp,
        }  # fmt: skip
        # As after a scrape that failed: the series ends at once.
        values = "1x9 stale" + " _" * (gap - 1) + " 1x20"
        series = [{"series": _FAILED, "values": values}, {"series": _ENDED, "values": values.replace("1x", "0x")}]
        body = {
            "rule_files": [str(prometheus_tools.RULES / "pipelines.yaml")], "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [check]}],
        }  # fmt: skip
        path = tmp_path / f"{gap}-{minute}.yaml"
        path.write_text(yaml.safe_dump(body))
        found += "-" if prometheus_tools.run("promtool", "test", "rules", path).returncode else "f"
    return found


def test_exporter_restart_does_not_resolve_alerts(tmp_path: Path) -> None:
    assert _trial(tmp_path, 4) == "f" * 11


def test_long_exporter_outage_resolves_alert(tmp_path: Path) -> None:
    assert _trial(tmp_path, 8) == "ffffff---ff"
