"""Imports run one way, and flow files hold no state; each rule is shown to catch what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import flow_violations, violations

ROOT = Path(__file__).parents[1]

FORBIDDEN = [
    ("src/ai_workflow/storage/store.py", "import prefect"),
    ("src/ai_workflow/storage/store.py", "from prefect_aws import S3Bucket"),
    ("src/ai_workflow/storage/store.py", "def f():\n    from prefect.blocks.core import Block"),
    ("src/ai_workflow/storage/store.py", "import importlib\nimportlib.import_module('prefect.runtime')"),
    ("src/ai_workflow/storage/store.py", "from importlib import import_module\nimport_module('flows.training')"),
    ("src/ai_workflow/storage/store.py", "__import__('deploy')"),
    ("src/ai_workflow/storage/store.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import blocks"),
    ("src/ai_workflow/storage/store.py", "import monitoring.slo"),
    ("src/ai_workflow/storage/store.py", "from ai_workflow.stages import trainer"),
    ("src/ai_workflow/storage/store.py", "from ai_workflow.training import protocol as trainers"),
    ("src/ai_workflow/storage/store.py", "from .serving import chain"),
    ("src/ai_workflow/storage/store.py", "from . import cli"),
    ("src/ai_workflow/training/families/lightgbm.py", "from ..stages import trainer"),
    ("src/ai_workflow/training/protocol.py", "from ..stages import trainer"),
    ("src/ai_workflow/stages/trainer.py", "from ai_workflow.serving.routing.fallback_chain import Chain"),
    ("src/ai_workflow/serving/routing/fallback_chain.py", "import ai_workflow.cli.main"),
    ("monitoring/exporter.py", "from flows import training"),
    ("blocks/catalogue.py", "import flows.training"),
    ("src/ai_workflow/provisioning/bootstrap.py", "from tests.services import postgres"),
]
ALLOWED = [
    (
        "src/ai_workflow/stages/trainer.py",
        "import numpy\nfrom ai_workflow.training.families import lightgbm\nfrom .. import store",
    ),
    ("src/ai_workflow/serving/routing/fallback_chain.py", "from ai_workflow.stages.inference import predict"),
    ("src/ai_workflow/training/families/lightgbm.py", "import lightgbm\nfrom . import protocol"),
    ("src/ai_workflow/training/protocol.py", "from .. import store\nfrom .lightgbm import Trainer"),
    ("flows/training.py", "import prefect\nfrom ai_workflow.stages import trainer\nimport blocks.catalogue"),
    ("src/ai_workflow/provisioning/bootstrap.py", "import prefect\nfrom flows import training"),
    ("monitoring/exporter.py", "from ai_workflow.telemetry import journal"),
]
STATE = [
    "RUNS = Counter('runs', 'help')",
    "import prometheus_client\nRUNS = prometheus_client.Gauge('runs', 'help')",
    "CACHE = {}",
    "SEEN: list[str] = []",
    "NAMES = [name for name in ()]",
    "SETTINGS = load_settings()",
    "configure_logging()",
    "for name in (): pass",
    "with open('x') as f: pass",
    "try:\n    import x\nexcept ImportError:\n    x = None",
]
HARMLESS = '''"""A flow."""
from __future__ import annotations
import logging
from datetime import timedelta
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from pathlib import Path
log = logging.getLogger(__name__)
RETRIES: int = 3
Work = Callable[[int], dict[str, int]]
__all__ = ["training"]
DELAYS = (1, 2)
WITHIN = timedelta(hours=1)
load = task(retries=2)(str)
@flow
def training() -> None: ...
if __name__ == "__main__":
    training()
'''


def test_imports_run_one_way() -> None:
    assert violations(ROOT) == []


def test_flow_files_hide_nothing_and_hold_no_state() -> None:
    assert flow_violations(ROOT / "flows") == []


@pytest.mark.parametrize(("path", "source"), FORBIDDEN)
def test_a_forbidden_import_is_caught(tmp_path: Path, path: str, source: str) -> None:
    _plant(tmp_path / path, source)

    found = violations(tmp_path)

    assert len(found) == 1
    assert found[0].startswith(f"{path}:")


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_an_import_the_right_way_is_allowed(tmp_path: Path, path: str, source: str) -> None:
    _plant(tmp_path / path, source)

    assert violations(tmp_path) == []


@pytest.mark.parametrize("source", STATE)
def test_state_in_a_flow_file_is_caught(tmp_path: Path, source: str) -> None:
    _plant(tmp_path / "flows" / "training.py", source)

    assert len(flow_violations(tmp_path / "flows")) == 1


@pytest.mark.parametrize("stem", ["deploy", "ai_workflow", "json", "pandas", "prefect", "data_loader"])
def test_a_flow_file_that_hides_a_module_is_caught(tmp_path: Path, stem: str) -> None:
    _plant(tmp_path / "src" / "ai_workflow" / "stages" / "data_loader.py", "")
    _plant(tmp_path / "flows" / f"{stem}.py", HARMLESS)

    assert [problem.split(":")[0] for problem in flow_violations(tmp_path / "flows")] == [f"{stem}.py"]


def test_a_plain_flow_file_is_allowed(tmp_path: Path) -> None:
    _plant(tmp_path / "flows" / "training.py", HARMLESS)

    assert flow_violations(tmp_path / "flows") == []


def _plant(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
