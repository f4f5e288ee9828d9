"""`slo.yaml` -> everything under `generated/`: pure until the files are written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.slo import definitions, rules
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.outputs import alertmanager_config, grafana_provisioning, scrape_config
from ai_workflow.slo.outputs.file_text import as_json, as_yaml
from ai_workflow.slo.rule_tests import promtool
from ai_workflow.slo.spec import Spec


def files(spec: Spec) -> dict[str, str]:
    """Return the text of each file by its path under `generated/`; the same to the byte for the same promises."""
    groups = rules.groups(spec)
    found = {f"prometheus/rules/{name}.yaml": _group(name, held) for name, held in groups.items()}
    found |= {f"prometheus/tests/{name}.yaml": as_yaml(test) for name, test in promtool.files(spec, groups)}
    found["prometheus/prometheus.yml"] = as_yaml(scrape_config.config(spec))
    found["alertmanager/alertmanager.yml"] = as_yaml(alertmanager_config.config(spec))
    found |= {f"grafana/dashboards/{uid}.json": as_json(board) for uid, board in definitions.dashboards(spec).items()}
    found |= {f"grafana/provisioning/{name}": as_yaml(held) for name, held in grafana_provisioning.files(spec).items()}
    return dict(sorted(found.items()))


def generated() -> Path:
    """Return the folder of the generated files of the project."""
    return project.path("monitoring", "generated")


def write(texts: Mapping[str, str], folder: Path) -> None:
    """Write the files, and remove what an earlier build has left in their folders."""
    for top in sorted({name.split("/")[0] for name in texts}):
        shutil.rmtree(folder / top, ignore_errors=True)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _group(name: str, held: list[Rule]) -> str:
    return as_yaml({"groups": [{"name": name, "rules": held}]})
