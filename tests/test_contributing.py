"""What a contributor uses: hooks, CI workflow, dev container, templates and the pages that describe them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
SCHEMAS = {
    WORKFLOW: "vendor.github-workflows",
    TEMPLATES / "bug.yml": "vendor.github-issue-forms",
    TEMPLATES / "feature.yml": "vendor.github-issue-forms",
    TEMPLATES / "config.yml": "vendor.github-issue-config",
}
PAGES = ("CONTRIBUTING.md", "SECURITY.md", ".github/pull_request_template.md")


def document(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def hooks() -> list[dict[str, Any]]:
    return [hook for repo in document(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def module(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.integration
def test_hooks_run_commands_of_make_check() -> None:
    lines = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    checks = [
        line for line in lines if re.match(r"\.venv/bin/(python -m (?!compileall|deploy\.audit)|lint-imports)", line)
    ]

    assert [" ".join(hook["entry"].split()) for hook in hooks()] == checks


def test_hooks_use_local_environment_and_run_manually() -> None:
    for hook in hooks():
        assert (hook["language"], hook["pass_filenames"]) == ("system", False), hook["id"]
        assert "manual" in hook["stages"], hook["id"]


@pytest.mark.slow
def test_commit_with_spelling_mistake_is_rejected(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "PRE_COMMIT_HOME": str(tmp_path / "home"),
        # No hook may need an address outside.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{role}_{key}": "a@b" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
    }
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("pyproject.toml", ".pre-commit-config.yaml"):
        shutil.copy(ROOT / name, clone / name)
    for folder in (".github", ".ci"):
        (clone / folder).mkdir()
    (clone / ".venv").symlink_to(sys.prefix)
    (clone / ".gitignore").write_text(".venv\n")
    (clone / "notes.md").write_text("Read teh manual.\n")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)

    run("git", "init", "-q")
    run("git", "add", ".")
    installed = run(sys.executable, "-m", "pre_commit", "install")
    refused = run("git", "commit", "-m", "docs: add notes")

    assert installed.returncode == 0, installed.stderr
    assert refused.returncode != 0
    assert "notes.md:1: teh ==> the" in refused.stdout + refused.stderr
    assert run("git", "log").returncode != 0


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_github_files_match_schema(path: Path) -> None:
    validator = jsonschema.Draft7Validator(get_builtin_schema(SCHEMAS[path]))

    # YAML 1.1 reads the key `on` as true.
    content = {"on" if key is True else key: value for key, value in document(path).items()}

    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)] == []


def test_issue_forms_are_all_validated() -> None:
    assert set(TEMPLATES.iterdir()) == {path for path in SCHEMAS if path.parent == TEMPLATES}


def test_workflow_is_read_only_with_timeouts() -> None:
    workflow = document(WORKFLOW)

    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for name, job in workflow["jobs"].items():
        assert "permissions" not in job, name
        assert job["timeout-minutes"] <= 90, name


def test_workflow_pins_actions_by_commit() -> None:
    actions = [step["uses"] for job in document(WORKFLOW)["jobs"].values() for step in job["steps"] if "uses" in step]

    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action)] == []


def test_workflow_and_dev_container_call_existing_commands() -> None:
    commands = [step.get("run", "") for job in document(WORKFLOW)["jobs"].values() for step in job["steps"]]
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    commands += [container["onCreateCommand"], container["postCreateCommand"]]
    cases = set(re.findall(r"^  (\w+)\) ", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE))

    called = re.findall(r"bash (\S+)(?: (\w+))?", "\n".join(commands))
    made = set(re.findall(r"make ([a-z-]+)", "\n".join(commands)))

    assert (".ci/run", "") in called
    assert {path for path, _ in called} == {".ci/run"}
    assert {case for _, case in called if case} <= cases
    assert made <= targets()


def test_dev_container_installs_ci_packages() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    images = {job["container"]["image"] for job in document(WORKFLOW)["jobs"].values()}
    base = re.findall(r"^ARG BASE=(\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)

    # The list of packages is in one place, `missing` of .ci/run, which needs root.
    assert "bash .ci/run install" in container["onCreateCommand"]
    assert container["remoteUser"] == "root"
    assert images == {container["image"]}
    assert [name.replace("-slim", "") for name in base] == [container["image"]]


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_existing_paths_and_targets(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"\]\((?!http)([^)#]+)", text)
    named += re.findall(r"`((?:src|flows|tests|docs|monitoring|blocks|deploy|\.ci|\.devcontainer)/[\w./-]*)`", text)
    missing = {
        path for path in named if not (ROOT / page).parent.joinpath(path).exists() and not (ROOT / path).exists()
    }

    assert missing == set()
    assert set(re.findall(r"`(?:\S+ )?make ([a-z-]+)", text)) - targets() == set()


def test_code_owner_patterns_match_existing_paths() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS.example").read_text().splitlines()
    patterns = [line.split()[0] for line in lines if line and not line.startswith("#")]

    assert [pattern for pattern in patterns if pattern != "*" and not (ROOT / pattern.strip("/")).exists()] == []


@pytest.mark.integration
def test_wheel_contains_py_typed_marker(tmp_path: Path) -> None:
    done = module("hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))

    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "ai_workflow/py.typed" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.integration
def test_undeclared_import_is_reported(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "planted.py").write_text("import not_declared\nimport idna\nimport hypothesis\nimport numpy\n")

    done = module("deptry", "src", "--json-output", "problems.json", cwd=tmp_path)

    problems = json.loads((tmp_path / "problems.json").read_text())
    assert done.returncode != 0
    assert {(problem["module"], problem["error"]["code"]) for problem in problems if problem["location"]["line"]} == {
        ("not_declared", "DEP001"),
        ("idna", "DEP003"),
        ("hypothesis", "DEP004"),
    }
