"""Faults of files, limits and packages: the doctor names each with its place, its start and a remedy."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_workflow.cli import main
from ai_workflow.config.layers import INSTALLED_PROJECTS
from ai_workflow.doctor import checks
from ai_workflow.doctor.finding import Finding
from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry
from ai_workflow.slo import reader
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import ERROR, RUN, STARTED, SUCCESS, Event, Journal
from tests.doctor.planted import examined, fault, findings
from tests.tables import DAMAGES, damage

NOW = datetime.now(UTC)
MODELS = "models/development"


@pytest.fixture(autouse=True)
def _no_prefect_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the server that other tests of the same process use."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, without a stack or a server."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(store: Store, trace_id: str, status: str, hours_ago: float, message: str = "") -> None:
    """Write the events of a training that ended some hours ago."""
    book, ended = Journal(store), NOW - timedelta(hours=hours_ago)
    for stage, state in ((RUN, STARTED), ("trainer", STARTED), ("trainer", status), (RUN, status)):
        book.write(
            Event(
                trace_id, "credit", "training", stage, state, time=ended.isoformat(timespec="milliseconds"),
                message=message if state == status else "", model_version="model_v1.2",
            )
        )  # fmt: skip


def published(folder: Path, count: int = 1) -> Registry:
    """Publish versions; the first is `stable`, the last `latest`."""
    registry = Registry(Store(folder / "store"), f"{MODELS}/credit")
    for number in range(count):
        publication.publish(registry, {"model.txt": b"m" * (5000 + number)}, "schema", {"kind": "lightgbm"})
    return registry


# -- planted faults --------------------------------------------------------------------------------------------------


def test_invalid_configuration_is_named_with_file_line_and_key(folder: Path) -> None:
    (folder / "bad.yaml").write_text("pipeline: credit\ntrainer:\n  stepz: 5\nsource: {kind: csv, path: a.csv}\n")
    broken = examined(folder, pipeline=folder / "bad.yaml")

    named = [f"{each.where} {each.what}" for each in findings("configuration", broken)]

    assert any("bad.yaml:3 trainer.stepz: unknown key" in text for text in named), named


@pytest.mark.integration
def test_invalid_pipeline_of_project_is_named(folder: Path) -> None:
    (folder / "config").mkdir()
    base = INSTALLED_PROJECTS[0] / "config/base.yaml"
    (folder / "config/base.yaml").write_bytes(base.read_bytes())
    (folder / "pipelines/credit").mkdir(parents=True)
    (folder / "pipelines/credit/pipeline.yaml").write_text("pipeline: loans\ntask: regression\ntarget: a\n")

    named = [f"{each.where} {each.what}" for each in findings("configuration", examined(folder))]

    assert any(text.startswith("pipelines/credit/pipeline.yaml") for text in named), named


@pytest.mark.integration
def test_checks_of_store_run_although_configuration_is_invalid(folder: Path) -> None:
    (folder / "bad.yaml").write_text("pipeline: 7\nunknown: 1\n")
    run(Store(folder / "store"), "a" * 32, ERROR, 1, "out of memory")

    results = checks.run(examined(folder, pipeline=folder / "bad.yaml"))

    states = {result.check: result.state for result in results}
    assert states["configuration"] == "error"
    assert states["runs"] == "error"
    assert list(states) == list(checks.ALL)


def test_last_failed_run_is_named_with_stage_reason_trace_version_and_time(folder: Path) -> None:
    run(Store(folder / "store"), "b" * 32, SUCCESS, 30)
    run(Store(folder / "store"), "a" * 32, ERROR, 3, "loss is nan\nat step 7")

    finding = fault("runs", examined(folder))

    assert "credit/training failed in trainer: loss is nan at step 7" in finding.what
    assert finding.where == "trace aaaaaaaa, model_v1.2"
    assert "ai-workflow trace aaaaaaaa" in finding.remedy
    assert finding.since is not None
    assert abs(finding.since - (NOW - timedelta(hours=3))) < timedelta(seconds=2)


def test_failed_run_with_later_success_is_no_fault(folder: Path) -> None:
    run(Store(folder / "store"), "a" * 32, ERROR, 3, "loss is nan")
    run(Store(folder / "store"), "b" * 32, SUCCESS, 1)

    assert findings("runs", examined(folder)) == []


@pytest.mark.integration
def test_killed_run_is_named_with_its_last_stage(folder: Path) -> None:
    book, started = Journal(Store(folder / "store")), (NOW - timedelta(hours=1)).isoformat(timespec="milliseconds")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for stage in (RUN, "trainer"):
        book.write(Event("c" * 32, "credit", "training", stage, STARTED, time=started, pid=ended.pid))

    finding = fault("runs", examined(folder))

    assert finding.what == "the last run of credit/training failed in trainer: its process was killed"


def test_damaged_file_of_journal_is_named(folder: Path) -> None:
    store = Store(folder / "store")
    run(store, "b" * 32, SUCCESS, 1)
    (name,) = (name for name in store.names(f"journal/{'b' * 32}") if "trainer-success" in name)
    damage(store, f"journal/{'b' * 32}/{name}", "cut short")

    assert name in fault("runs", examined(folder), "warning").what


def test_pipeline_without_recent_success_is_stale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "more.yaml").write_text("monitoring: {expected_hours: {training: 24, other/scoring: 2}}\n")
    monkeypatch.setenv("AIW_CONFIG", str(folder / "more.yaml"))
    run(Store(folder / "store"), "a" * 32, SUCCESS, 37)

    stale, never = findings("stale pipelines", examined(folder))

    assert (stale.severity, stale.what) == ("error", "credit/training is stale: its last success was 37.0 h ago")
    assert (never.severity, never.what) == ("warning", "other/scoring has never succeeded")


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_latest_version_is_named_with_rollback(folder: Path, kind: str) -> None:
    registry = published(folder, 2)
    damage(registry.store, f"{registry.folder}/model_v1.1/model.txt", kind)

    finding = fault("models", examined(folder))

    assert "model_v1.1 of credit (latest) is damaged: model.txt" in finding.what
    assert finding.where.endswith(f"{MODELS}/credit/model_v1.1")
    assert finding.remedy.startswith("ai-workflow models rollback")


def test_damaged_only_version_has_no_rollback(folder: Path) -> None:
    registry = published(folder)
    damage(registry.store, f"{registry.folder}/model_v1.0/manifest.json", "empty")

    finding = fault("models", examined(folder))

    assert "model_v1.0 of credit (latest and stable) is damaged" in finding.what
    assert "rollback" not in finding.remedy


def test_damaged_aliases_are_named_and_other_registries_are_checked(folder: Path) -> None:
    registry = published(folder)
    publication.publish(Registry(registry.store, f"{MODELS}/zoo"), {"model.txt": b"z"}, "schema", {"kind": "lightgbm"})
    damage(registry.store, f"{registry.folder}/aliases.json", "cut short")
    damage(registry.store, f"{MODELS}/zoo/model_v1.0/model.txt", "deleted")

    named = [finding.what for finding in findings("models", examined(folder))]

    assert "the registry of credit cannot be read" in named[0]
    assert "model_v1.0 of zoo" in named[1]


def test_store_that_is_a_file_is_an_error(folder: Path) -> None:
    (folder / "store").write_text("")

    assert fault("store", examined(folder)).where == str(folder / "store")


def test_missing_store_is_a_warning_and_is_not_created(folder: Path) -> None:
    assert fault("store", examined(folder), "warning").what == "the store does not exist"
    assert not (folder / "store").exists()


def test_healthy_store_is_left_unchanged(folder: Path) -> None:
    published(folder)
    before = sorted(folder.rglob("*"))

    assert findings("store", examined(folder)) == []
    assert sorted(folder.rglob("*")) == before


def test_disk_below_limit_of_slo_file_is_named(folder: Path) -> None:
    text = reader.own().read_text().replace("bytes: 2000000000", "bytes: 1e18")
    (folder / "slo.yaml").write_text(text)
    full = dataclasses.replace(examined(folder), spec=reader.load(folder / "slo.yaml"))

    first = findings("disks", full)[0]

    assert (first.severity, "ModelStoreDiskLow" in first.what) == ("error", True)
    assert first.where.startswith("store ")


def test_disk_without_room_for_temporary_files_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_folder() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", no_folder)
    full = dataclasses.replace(examined(folder), spec=reader.load())

    assert findings("disks", full)[-1].what.startswith("temporary files cannot be written: No usable temporary")


def test_invalid_slo_file_leaves_limit_of_disk_unknown(folder: Path) -> None:
    broken = dataclasses.replace(examined(folder), spec=None)

    assert fault("disks", broken, "unknown").remedy


def test_package_that_does_not_fit_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("lightgbm", "3.3.5"), ("pandas", "2.2.0")):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(folder))

    named = {finding.what.split(" is installed")[0] for finding in findings("versions", examined(folder))}

    assert named == {"lightgbm 3.3.5", "pandas 2.2.0"}


def test_installed_packages_fit(folder: Path) -> None:
    assert findings("versions", examined(folder)) == []


def test_low_limit_of_open_files_is_named(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        finding = fault("limits", dataclasses.replace(examined(folder), cgroup=folder))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert finding.what.startswith("200 files can be open, runs open up to ")


def test_memory_limit_of_container_counts_without_file_cache(folder: Path) -> None:
    for name, text in (("memory.max", "1000\n"), ("memory.current", "950\n"), ("memory.stat", "inactive_file 400\n")):
        (folder / name).write_text(text)
    limited = dataclasses.replace(examined(folder), cgroup=folder)
    assert findings("limits", limited) == []

    (folder / "memory.stat").write_text("inactive_file 20\n")
    assert "930 of 1,000 bytes of memory" in fault("limits", limited).what

    (folder / "memory.max").write_text("max\n")
    assert findings("limits", limited) == []


# -- checks that cannot be done --------------------------------------------------------------------------------------


def test_check_that_raises_is_unknown_and_others_run(folder: Path) -> None:
    def broken(_: object):  # type: ignore[no-untyped-def]
        yield Finding("warning", "first", "here", "nothing")
        raise KeyError("hour")

    results = checks.run(examined(folder), {"broken": broken, "store": checks.ALL["store"]})

    assert [each.severity for each in results[0].findings] == ["unknown", "warning"]
    assert "KeyError: 'hour'" in results[0].findings[0].what
    assert results[1].state == "warning"
    assert (results[0].is_healthy, results[1].is_healthy) == (False, True)


def test_check_that_hangs_is_unknown_after_time_limit(folder: Path) -> None:
    released = threading.Event()

    def hangs(_: object):  # type: ignore[no-untyped-def]
        yield Finding("error", "first", "here", "nothing")
        released.wait()

    started = time.monotonic()
    (result,) = checks.run(examined(folder), {"hangs": hangs}, 0.05)
    released.set()

    assert time.monotonic() - started < 30
    assert [each.severity for each in result.findings] == ["error", "unknown"]
    assert "was not done within 0.05 s" in result.findings[1].what


# -- command ---------------------------------------------------------------------------------------------------------


def test_command_exits_with_1_and_prints_faults_first(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("store", "prefect server", "runs")
    monkeypatch.setattr(checks, "ALL", {name: checks.ALL[name] for name in names})
    run(Store(folder / "store"), "a" * 32, ERROR, 3, "bad \x1b[31mrow")

    code = main.exit_code(["doctor", "--store", str(folder / "store")])

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[0] == "ERROR     runs: the last run of credit/training failed in trainer: bad \\x1b[31mrow"
    assert lines[1].split() == ["where", "trace", "aaaaaaaa,", "model_v1.2"]
    assert "(3 h ago)" in lines[2]
    assert lines[3].split()[0] == "remedy"
    assert lines[-3].startswith("skipped   prefect server: no Prefect server is configured")
    assert lines[-2:] == ["ok        store", "1 error, 0 unknown, 0 warning"]


def test_command_prints_json_and_exits_with_0_without_faults(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder)
    # The others depend on the machine.
    names = ("configuration", "store", "models", "prefect server", "runs")
    monkeypatch.setattr(checks, "ALL", {name: checks.ALL[name] for name in names})

    code = main.exit_code(["doctor", "--json", "--store", str(folder / "store")])

    report = json.loads(capsys.readouterr().out)
    assert (code, report["healthy"]) == (0, True), report
    assert [check["check"] for check in report["checks"]] == list(names)
    assert {check["state"] for check in report["checks"]} == {"ok", "skipped"}


def test_secret_in_message_is_masked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ai_workflow.secret_values import Secret

    Secret("hunter2-hunter2")
    (folder / "hunter2-hunter2").write_text("")

    main.exit_code(["doctor", "--json", "--store", str(folder / "hunter2-hunter2")])

    assert "hunter2-hunter2" not in capsys.readouterr().out
