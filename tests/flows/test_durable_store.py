"""A store that would be deleted with the code of a run is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config import loader
from ai_workflow.orchestration import temporary_store
from ai_workflow.provisioning import temporary_store_check as deploying
from ai_workflow.provisioning.deployments import Source
from ai_workflow.provisioning.ownership import project

GIT = {"prefect.deployments.steps.git_clone": {"repository": "https://git.example.com/w.git"}}
BUCKET = {"prefect_aws.deployments.steps.pull_from_s3": {"bucket": "b", "folder": "f"}}
FOLDER = {"prefect.deployments.steps.set_working_directory": {"directory": "/opt/w"}}
INSIDE = {"prefect.deployments.steps.set_working_directory": {"directory": "w"}}
SCRIPT = {"prefect.deployments.steps.run_shell_script": {"script": "true"}}


@pytest.mark.parametrize(
    ("steps", "is_temporary"),
    [
        ([], True), ([SCRIPT], True), ([GIT], True), ([GIT, INSIDE], True), ([BUCKET], True), ([FOLDER, GIT], True),
        ([FOLDER], False), ([GIT, FOLDER], False), ([FOLDER, SCRIPT], False), ([FOLDER, INSIDE], False),
    ],
)  # fmt: skip
def test_pull_steps_determine_temporary_working_folder(steps: list[dict[str, Any]], is_temporary: bool) -> None:
    assert temporary_store.is_temporary(steps) is is_temporary


@pytest.mark.parametrize(
    ("root", "is_refused"),
    [
        ("./var", True), ("var", True), ("../var", True), ("file://var", True), ("local://var", True), ("~/var", True),
        ("/srv/var", False), ("file:///srv/var", False), ("s3://bucket/prefix", False), ("memory://x", False),
    ],
)  # fmt: skip
def test_relative_store_is_rejected_for_pulled_code(root: str, is_refused: bool) -> None:
    settings = loader.load(None, overrides={"store.root": root}).settings
    deploying.check(settings, [("training/training", [FOLDER])])
    if is_refused:
        with pytest.raises(deploying.DurableStoreError, match=r"AIW_STORE or store\.root to an absolute folder"):
            deploying.check(settings, [("training/training", [FOLDER]), ("drill/drill", [GIT])])
    else:
        deploying.check(settings, [("training/training", [GIT])])


@pytest.mark.parametrize("folder", ["tmpab0_9xyzprefect/gitremote-main", "tmpab0_9xyzprefect", "runner_storage/1/w"])
def test_run_rejects_store_in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    clone = tmp_path / folder
    clone.mkdir(parents=True)
    monkeypatch.chdir(clone)
    for root in ("./var", str(clone / "var")):
        settings = loader.load(None, overrides={"store.root": root}).settings
        with pytest.raises(temporary_store.TemporaryStoreError, match="which Prefect deletes after this run"):
            asyncio.run(temporary_store.check(settings))
    assert list(clone.iterdir()) == []
    asyncio.run(temporary_store.check(loader.load(None, overrides={"store.root": str(tmp_path / "var")}).settings))


def test_project_name_is_folder_or_repository_without_credentials(tmp_path: Path) -> None:
    assert project(Source(tmp_path).steps()) == str(tmp_path)
    url = "https://git.example.com/team/w.git"
    assert project(Source(tmp_path, url.replace("//", "//me:canary-31@"), "main").steps()) == url
    assert project(Source(tmp_path, "git@git.example.com:team/w.git").steps()) == "git@git.example.com:team/w.git"
    assert project([SCRIPT]) is None
    assert project(None) is None
