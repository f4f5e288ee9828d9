"""Direction of imports, size of packages, and content of flow files; each rule is shown to catch a violation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow_files import flow_violations

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ai_workflow"
LINT = """
import sys
from importlinter.cli import lint_imports
sys.path[:0] = ["src", "."]
sys.exit(lint_imports(no_cache=True))
"""
MAX_MODULES_AT_TOP, MAX_FILES = 8, 20
ROW = re.compile(r"^\| `([\w/]+)/` \| (.+) \|$", re.MULTILINE)

FORBIDDEN = [
    ("src/ai_workflow/storage/store.py", "import prefect", "Prefect is imported by"),
    (
        "src/ai_workflow/exporter/exporter.py",
        "def f():\n    from prefect.blocks.core import Block",
        "Prefect is imported by",
    ),
    ("src/ai_workflow/storage/store.py", "from ai_workflow.stages import trainer", "Packages of ai_workflow"),
    ("src/ai_workflow/datasets/split.py", "from ..training import protocol", "Packages of ai_workflow"),
    ("src/ai_workflow/stages/trainer.py", "from ai_workflow.serving import auth", "Packages of ai_workflow"),
    ("src/ai_workflow/serving/auth.py", "import ai_workflow.stages.trainer", "Packages of ai_workflow"),
    ("src/ai_workflow/cli/run.py", "import flows.training", "The package imports no folder"),
    ("src/ai_workflow/slo/rules.py", "if False:\n    import monitoring.alerts", "The package imports no folder"),
    ("blocks/catalogue.py", "import flows.training", "Blocks and monitoring import no flows"),
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


def test_import_contracts_hold() -> None:
    linted = _lint(ROOT)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("path", "source", "contract"), FORBIDDEN)
def test_forbidden_import_breaks_contract(tmp_path: Path, path: str, source: str, contract: str) -> None:
    for folder in ("src", "flows", "deploy", "blocks", "monitoring"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "generated"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / path).open("a") as file:
        file.write(f"\n{source}\n")

    linted = _lint(tmp_path)

    assert linted.returncode == 1
    assert re.search(rf"^{contract}.* BROKEN", linted.stdout, re.MULTILINE), linted.stdout


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LINT], cwd=root, capture_output=True, text=True, check=False)


def test_packages_stay_within_file_limit() -> None:
    folders = [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)]
    sizes = {str(folder.relative_to(PACKAGE)): len(list(folder.glob("*.py"))) for folder in folders}
    assert sizes.pop(".") <= MAX_MODULES_AT_TOP
    assert {name: size for name, size in sizes.items() if size > MAX_FILES} == {}


def test_architecture_page_lists_each_package_once() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = [name for name, _ in ROW.findall(page)]
    packages = [
        str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE
    ]
    assert sorted(named) == sorted(packages)


def test_only_locks_module_uses_flock() -> None:
    folders = [PACKAGE, *(ROOT / name for name in ("flows", "blocks", "deploy", "monitoring"))]
    users = [path for folder in folders for path in folder.rglob("*.py") if "flock" in path.read_text()]
    assert [str(path.relative_to(PACKAGE)) for path in users] == ["storage/locks.py"]


def test_flow_files_shadow_no_module_and_hold_no_state() -> None:
    assert flow_violations(ROOT / "flows") == []


@pytest.mark.parametrize("source", STATE)
def test_module_state_in_flow_file_is_reported(tmp_path: Path, source: str) -> None:
    _plant(tmp_path / "flows" / "training.py", source)

    assert len(flow_violations(tmp_path / "flows")) == 1


@pytest.mark.parametrize("stem", ["deploy", "ai_workflow", "json", "pandas", "prefect", "data_loader"])
def test_flow_file_shadowing_a_module_is_reported(tmp_path: Path, stem: str) -> None:
    _plant(tmp_path / "src" / "ai_workflow" / "stages" / "data_loader.py", "")
    _plant(tmp_path / "flows" / f"{stem}.py", HARMLESS)

    assert [problem.split(":")[0] for problem in flow_violations(tmp_path / "flows")] == [f"{stem}.py"]


def test_stateless_flow_file_is_allowed(tmp_path: Path) -> None:
    _plant(tmp_path / "flows" / "training.py", HARMLESS)

    assert flow_violations(tmp_path / "flows") == []


def _plant(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
