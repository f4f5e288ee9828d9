"""What `ai-workflow models` promises: what there is, what served when, and that nothing goes without a yes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ai_workflow.cli import main, models
from ai_workflow.config import loader
from ai_workflow.registry import pruning, publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests.stages.tables import Pipeline, parted, people, settings
from tests.tables import damage

FOLDER = loader.load(None).settings.models
Ran = tuple[int, str, str]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Five versions of the sample pipeline, all old enough to go."""
    (tmp_path / "old.yaml").write_text("retention: {versions: 2, min_age_hours: 0}\n")
    monkeypatch.setenv("AIW_CONFIG", str(tmp_path / "old.yaml"))
    found = Registry(Store(tmp_path / "var"), FOLDER)
    for _ in range(5):
        publication.publish(found, {"model.txt": b"m" * 5000}, "schema", {"kind": "lightgbm"})
    return found


def _run(capsys: pytest.CaptureFixture[str], registry: Registry, *arguments: str) -> Ran:
    try:
        main.main(["models", *arguments, "--store", registry.store.root])
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    out, error = capsys.readouterr()
    return code, out, error


def test_list_shows_why_each_version_is_kept(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    with registry.leased("model_v1.2", "service"):
        code, out, _ = _run(capsys, registry, "list")
    assert code == 0
    kept = {line.split()[0]: line.split(maxsplit=4)[4] for line in out.splitlines()[1:]}
    assert kept["model_v1.0"] == "stable"
    assert kept["model_v1.1"] == "- to be deleted"
    assert kept["model_v1.2"].startswith("leased: service, process ")
    assert kept["model_v1.4"] == "latest, among the newest 2"


def test_empty_registry_error_names_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Registry(Store(tmp_path), FOLDER)
    for asked in ("list", "history"):
        code, _, error = _run(capsys, empty, asked)
        assert code == 2
        assert "no version" in error
        assert f"{tmp_path}/{FOLDER}" in error
    assert _run(capsys, empty, "prune", "--yes")[1] == "nothing to delete\n"


def test_show_prints_version_details(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, registry, "show", "stable")
    assert code == 0
    assert out.startswith("aliases:\n- stable\npinned: null\nleases: []\n")
    assert "version: model_v1.0\n" in out
    code, _, error = _run(capsys, registry, "show", "model_v9.9")
    assert (code, "model version 'model_v9.9' not found" in error) == (2, True)


def test_control_characters_in_reason_are_escaped(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    pruning.pin(registry, "model_v1.1", "audit\n2026-01-01T00:00:00  promote  latest=model_v9.9\x1b[31m\r")
    for asked, lines in (("history", 6), ("list", 6)):
        code, out, _ = _run(capsys, registry, asked)
        assert code == 0
        assert len(out.splitlines()) == lines
        assert "\x1b" not in out
        assert r"audit\n2026" in out


@pytest.mark.integration
def test_history_at_shows_aliases_at_timestamp(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    lines = registry.history()
    code, out, _ = _run(capsys, registry, "history")
    assert (code, len(out.splitlines())) == (0, 5)
    _, out, _ = _run(capsys, registry, "history", "--at", lines[2]["time"])
    assert "latest=model_v1.2  stable=model_v1.0" in out
    code, _, error = _run(capsys, registry, "history", "--at", "2020-01-01")
    assert (code, "at 2020-01-01. Give a later time" in error) == (2, True)
    code, _, error = _run(capsys, registry, "history", "--at", "yesterday")
    assert (code, "--at yesterday is not a time" in error) == (2, True)


@pytest.mark.integration
def test_history_at_day_lists_changes_and_rejects_future(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    today = datetime.now().astimezone()
    for form in ("%Y-%m-%d", "%Y%m%d"):
        code, out, _ = _run(capsys, registry, "history", "--at", today.strftime(form))
        # Five changes; two days where the test runs over midnight.
        assert (code, 1 <= len(out.splitlines()) <= 5) == (0, True)
        assert "latest=model_v1.4" in out
    for later in (today + timedelta(days=2), today + timedelta(hours=1)):
        code, out, error = _run(capsys, registry, "history", "--at", later.isoformat())
        assert (code, out) == (2, "")
        assert "is in the future" in error


@pytest.mark.integration
def test_promote_pin_and_rollback_record_reason_in_history(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(capsys, registry, "promote", "model_v1.3", "--reason", "looked at it")[1] == (
        "latest=model_v1.4  stable=model_v1.3\n"
    )
    assert _run(capsys, registry, "rollback")[1] == "latest=model_v1.3  stable=model_v1.3\n"
    code, _, error = _run(capsys, registry, "rollback")
    assert (code, error) == (2, "error: nothing to roll back: latest is stable (model_v1.3)\n")
    assert _run(capsys, registry, "pin", "model_v1.1", "--reason", "audit")[1] == "model_v1.1 is pinned\n"
    assert _run(capsys, registry, "pin", "model_v1.1")[0] == 2, "a pin without a reason is a riddle"
    assert _run(capsys, registry, "unpin", "model_v1.1")[0] == 0
    said = [(line["action"], line["reason"]) for line in registry.history()][5:]
    assert said == [("promote", "looked at it"), ("rollback", "by hand"), ("pin", "audit"), ("unpin", "by hand")]


def test_damaged_version_is_not_promoted(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    damage(registry.store, f"{FOLDER}/model_v1.4/model.txt", "a bit flipped")
    code, _, error = _run(capsys, registry, "promote")
    assert (code, "model_v1.4 is damaged, and cannot become stable" in error) == (2, True)
    assert registry.aliases()["stable"] == "model_v1.0"


@pytest.mark.integration
def test_prune_deletes_only_after_confirmation(
    registry: Registry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(capsys, registry, "prune", "--dry-run")[1].endswith("would release 9.8K\n")
    code, _, error = _run(capsys, registry, "prune")
    assert (code, "stdin is not a terminal. Pass --yes" in error) == (2, True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert _run(capsys, registry, "prune")[1].endswith("nothing was deleted\n")
    assert len(registry.versions()) == 5
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert _run(capsys, registry, "prune")[1].endswith("Released 9.8K\n")
    assert registry.versions() == ["model_v1.0", "model_v1.3", "model_v1.4"]


def test_version_pinned_during_prune_prompt_is_kept(
    registry: Registry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def think(_: str) -> bool:
        models.pruning.pin(registry, "model_v1.1", "wait")
        return True

    monkeypatch.setattr(models, "_is_confirmed", think)
    out = _run(capsys, registry, "prune")[1]
    assert "model_v1.1 stays: pinned: wait\n" in out
    assert out.endswith("Released 4.9K\n")


@pytest.mark.slow
def test_verify_detects_damaged_file_and_changed_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Pipeline(Store(tmp_path), settings()).publish(*parted(people(), 2))
    registry = made.pipeline.registry
    monkeypatch.setattr(models.CommonOptions, "registry", registry)
    assert _run(capsys, registry, "verify")[1] == "model_v1.0  ok\n"
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "versions", lambda _: ["model_v0.9", "model_v1.0"])
        assert _run(capsys, registry, "verify")[:2] == (0, "model_v1.0  ok\n"), "one was deleted since they were listed"
        assert "model version 'model_v0.9' not found" in _run(capsys, registry, "verify", "model_v0.9")[2]
    golden = json.loads(registry.read(registry.get("latest"), "golden.json"))
    golden["answers"][1][0] += 0.01
    files = {name: registry.read(registry.get("latest"), name) for name in registry.get("latest").manifest["files"]}
    about = {name: registry.get("latest").manifest[name] for name in ("kind", "model_file")}
    publication.publish(registry, files | {"golden.json": json.dumps(golden).encode()}, "schema", about)
    code, out, error = _run(capsys, registry, "verify", "latest")
    assert (code, out) == (2, "model_v2.0  model_v2.0 predicts golden row 1 differently\n")
    assert error.startswith("error: 1 versions differ from what was published")
    damage(registry.store, f"{registry.folder}/model_v1.0/features.json", "cut short")
    assert "features.json is missing or damaged" in _run(capsys, registry, "verify", "model_v1.0")[1]
    damage(registry.store, f"{registry.folder}/model_v1.0/manifest.json", "cut short")
    code, out, error = _run(capsys, registry, "verify")
    assert [line.split()[0] for line in out.splitlines()] == ["model_v1.0", "model_v2.0"], "one does not hide another"
    assert (code, error.startswith("error: 2 versions differ")) == (2, True)
