"""Generator of all files in `monitoring/generated` from `slo.yaml`."""

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
    """Return the text of each file by its path below `generated/`, deterministically."""
    groups = rules.groups(spec)
    texts = {f"prometheus/rules/{name}.yaml": _group(name, members) for name, members in groups.items()}
    texts |= {f"prometheus/tests/{name}.yaml": as_yaml(test) for name, test in promtool.files(spec, groups)}
    texts["prometheus/prometheus.yml"] = as_yaml(scrape_config.config(spec))
    texts["alertmanager/alertmanager.yml"] = as_yaml(alertmanager_config.config(spec))
    texts |= {f"grafana/dashboards/{uid}.json": as_json(board) for uid, board in definitions.dashboards(spec).items()}
    texts |= {
        f"grafana/provisioning/{name}": as_yaml(content) for name, content in grafana_provisioning.files(spec).items()
    }
    return dict(sorted(texts.items()))


def generated() -> Path:
    """Return the folder of the generated files of the project."""
    return project.path("monitoring", "generated")


def write(texts: Mapping[str, str], folder: Path) -> None:
    """Write the files, and delete other files of an earlier build in their folders."""
    for top in sorted({name.split("/")[0] for name in texts}):
        shutil.rmtree(folder / top, ignore_errors=True)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _group(name: str, members: list[Rule]) -> str:
    return as_yaml({"groups": [{"name": name, "rules": members}]})
