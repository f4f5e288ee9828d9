"""Flows whose store is on S3 behave as on a local disk, with other processes at work on the same registry."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests.flows import sample_tables
from tests.flows.workspace import Workplace
from tests.registry_checks import is_sound
from tests.s3_server import s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    with s3_server(tmp_path / "s3.log") as url:
        yield url


def test_concurrent_trainings_on_s3_publish_both_versions(place: Workplace, bucket: str) -> None:
    root = f"{bucket}/prod"
    for name, steps in (("a.yaml", 5), ("b.yaml", 6)):
        trainer = sample_tables.PIPELINE.get("trainer", {}) | {"steps": steps}
        place.configure(name, trainer=trainer)
    with ThreadPoolExecutor(2) as pool:
        trainings = list(pool.map(lambda name: _run(place, root, "training", name), ("a.yaml", "b.yaml")))
    for done in trainings:
        assert done.returncode == 0, done.stdout
    registry = Registry(Store(root), f"models/development/{sample_tables.PIPELINE['pipeline']}")
    assert len(registry.versions()) == 2
    assert not is_sound(registry)
    scored = _run(place, root, "scoring", "a.yaml")
    assert scored.returncode == 0, scored.stdout
    assert registry.aliases()["latest"] in scored.stdout


def _run(place: Workplace, root: str, flow: str, config: str) -> subprocess.CompletedProcess[str]:
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    results = str(place.folder / f"results-{config}")
    environment = place.environment(**aws, AIW_STORE=root, PREFECT_LOCAL_STORAGE_PATH=results)
    return subprocess.run(
        [sys.executable, "-m", "ai_workflow", "run", flow, "--pipeline", config],
        cwd=place.folder, env=environment, timeout=400,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
