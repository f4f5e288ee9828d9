"""Alerts of the generated rules as promtool evaluates them over series that are written by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring import prometheus_tools

MINUTES = 90
NEW, OLD = "fraud_v7", "fraud_v6"
Series = Mapping[str, str]
WHO = 'job="inference",pipeline="fraud"'


def requests(status: str) -> str:
    """Return the series of the requests of the pipeline with a status."""
    return f'inference_requests_total{{{WHO},status="{status}"}}'


def of_version(name: str, status: str) -> str:
    """Return the series of the requests of a version with a status."""
    return f'inference_total{{{WHO},model_version="{name}",status="{status}"}}'


def fallback(version: str, reason: str) -> str:
    """Return the series of the requests that fell back from a version."""
    return f'inference_fallback_total{{{WHO},model_version="{version}",reason="{reason}"}}'


def fell_back_example(version: str, trace_id: str) -> str:
    """Return the series of an example of a fallback."""
    return f'inference_example_info{{{WHO},model_version="{version}",kind="fallback",trace_id="{trace_id}"}}'


def fired(folder: Path, group: str, alert: str, series: Series, interval: str = "1m") -> list[dict[str, Any]]:
    """Return the annotations and labels of the alerts of a name that fire after 90 minutes.

    promtool prints them only as a difference to what a test expects: so none are expected.

    Args:
        folder: for the file of the test.
        group: the group of the rules.
        alert: the name of the alert.
        series: the samples, in the notation of promtool.
        interval: the time between two samples.
    """
    test = {
        "rule_files": [str(prometheus_tools.RULES / f"{group}.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": interval,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": f"{MINUTES}m", "alertname": alert}],
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    said = prometheus_tools.run("promtool", "test", "rules", os.path.relpath(file, Path.cwd()))
    if said.returncode == 0:
        return []
    got = said.stdout.partition("got:")[2] + said.stderr.partition("got:")[2]
    labels = re.findall(r"Labels:\{(.*)\}", got)
    notes = re.findall(r"Annotations:\{(.*)\}", got)
    assert labels, said.stdout + said.stderr
    return [{**_pairs(note), "labels": _pairs(label)} for label, note in zip(labels, notes, strict=True)]


def _pairs(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text))
