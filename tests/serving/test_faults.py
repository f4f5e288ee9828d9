"""Whatever happens to a model, every request is answered in time, and the caller is told by whom."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import published_models
from tests.serving.running_service import Running, dumps
from tests.serving.traffic import Traffic

pytestmark = pytest.mark.integration

LATEST, STABLE = "model_v1.1", "model_v1.0"
DEADLINE, TOLERANCE, BACK = 0.2, 0.02, 2.0
FAULTS = ["raise", "hang", "segfault", "slow", "hang holding the GIL", "NaN", "too few", "no probability"]
# The others are in the matrix below, and each alone in test_slot.py.
QUICK = FAULTS[:2]


def check(traffic: Traffic, answered: set[str], since: float) -> None:
    """Every request has its answer, by whom it may be, within the deadline."""
    assert traffic.lost == []
    assert [told for told in traffic.told if told.status != 200] == []
    assert set(traffic.versions(since)) <= answered
    assert traffic.excess(DEADLINE, since) <= TOLERANCE, sorted(told.seconds for told in traffic.told)[-20:]
    known = {f"model_v1.{seed}": max(published_models.answers(seed, [published_models.ROW])[0]) for seed in (0, 1)}
    for told in traffic.told:
        row = told.body["predictions"][0]
        if told.version == "default":
            assert row["prediction"] == "unknown"
        else:
            assert published_models.is_close(row["score"], known[told.version]), "the answer is that version's own"
        assert told.body["fallback"] is (told.version != LATEST)


@contextmanager
def failing(faults: Path, kind: str, *versions: str) -> Iterator[None]:
    """Let versions fail in some way."""
    for version in versions:
        part = faults / f".{version}"
        part.write_text(kind)
        part.rename(faults / version)
    yield
    for version in versions:
        (faults / version).unlink()


def is_back(running: Running) -> Callable[[], bool]:
    return lambda: running.predict(published_models.ROW)["model_version"] == LATEST


def under(running: Running, faults: Path, kind: str, versions: tuple[str, ...], seconds: float) -> None:
    """Let versions fail for some time under traffic, and see that latest is back soon after."""
    with Traffic(running.port, dumps([published_models.ROW])) as traffic:
        time.sleep(0.3)
        began = time.monotonic()
        with failing(faults, kind, *versions):
            time.sleep(seconds)
        took = running.until(is_back(running))
        time.sleep(0.3)
    # What the machine takes for a mere ping, it takes many times over for a process to start.
    assert took <= BACK + 30 * max(ping.seconds for ping in traffic.pings), took
    # Of two that were broken, the one is back before the other.
    check(traffic, {LATEST, STABLE, "default"}, began)
    answered = traffic.versions(began)
    expected = STABLE if versions == (LATEST,) else "default"
    assert answered[expected] >= 0.25 * seconds * traffic.rate, answered
    if expected == STABLE:
        assert answered["default"] <= 0.02 * sum(answered.values()), "stable answers, not the default"


@pytest.mark.parametrize("kind", QUICK)
@pytest.mark.slow
def test_faulty_latest_falls_back_to_stable_and_recovers(kind: str, shared_faulty: tuple[Running, Path]) -> None:
    running, folder = shared_faulty
    under(running, folder, kind, (LATEST,), 0.8)


def test_default_response_is_used_when_both_versions_fail(shared_faulty: tuple[Running, Path]) -> None:
    running, folder = shared_faulty
    under(running, folder, "raise", (LATEST, STABLE), 0.8)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "versions",
    [
        pytest.param((LATEST,), id="latest", marks=pytest.mark.soak),
        pytest.param((LATEST, STABLE), id="both", marks=pytest.mark.slow),
    ],
)
def test_fault_matrix_holds_under_sustained_load(
    versions: tuple[str, ...], shared_faulty: tuple[Running, Path]
) -> None:
    running, folder = shared_faulty
    for kind in FAULTS if versions == (LATEST,) else ("hang", "segfault"):
        under(running, folder, kind, versions, 10.0)


@pytest.fixture(scope="module")
def shared_faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """One service whose models fail as the files of a folder say, for all tests here that let it recover."""
    folder = tmp_path_factory.mktemp("faulty")
    faults = folder / "faults"
    faults.mkdir()
    published_models.publish(folder / "store", 0)
    published_models.publish(folder / "store", 1)
    with Running(published_models.pipeline(folder), folder / "store", faults) as running:
        yield running, faults


@pytest.mark.parametrize("damage", [pytest.param("truncated", marks=pytest.mark.slow), "gone"])
def test_loaded_version_survives_loss_of_model_files(damage: str, tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root) as running:
        with Traffic(running.port, dumps([published_models.ROW])) as traffic:
            time.sleep(0.2)
            began = time.monotonic()
            folder = root / published_models.FOLDER / LATEST
            if damage == "gone":
                shutil.rmtree(folder)
            else:
                os.truncate(folder / "model.txt", 500)
            # Even a new process of it is given what was verified.
            os.kill(running.workers()[LATEST], signal.SIGKILL)
            time.sleep(0.8)
        check(traffic, {LATEST, STABLE}, began)
        assert running.predict(published_models.ROW)["model_version"] == LATEST


@pytest.mark.slow
def test_fallback_reason_names_each_damaged_version(tmp_path: Path, root: Path) -> None:
    (root / published_models.FOLDER / LATEST / "model.txt").write_bytes(b"tree")
    (root / published_models.FOLDER / STABLE / "features.json").unlink()
    with Running(published_models.pipeline(tmp_path), root) as running:
        found = running.predict(published_models.ROW)
        latest, stable = found["fallback_reason"].split("; ")
        assert latest == f"{LATEST}: not_loaded (model.txt is damaged: its sha256 is not the one on record)"
        assert stable == f"{STABLE}: not_loaded (features.json cannot be read: No such file or directory)"
        running.until(
            lambda: any(f"all models failed, answered by default: {latest}; {stable}" in line for line in running.log)
        )


@pytest.mark.slow
def test_damaged_latest_falls_back_to_stable_until_repaired(tmp_path: Path, root: Path) -> None:
    model = root / published_models.FOLDER / LATEST / "model.txt"
    whole = model.read_bytes()
    model.write_bytes(whole[:500])
    with Running(published_models.pipeline(tmp_path), root) as running:
        found = running.predict(published_models.ROW)
        assert (found["model_version"], found["fallback"]) == (STABLE, True)
        damaged = "model.txt is damaged: its sha256 is not the one on record"
        assert found["fallback_reason"] == f"{LATEST}: not_loaded ({damaged})"
        assert running.ready()["state"] == "degraded"
        running.until(lambda: any(f"{LATEST} is not served" in line and "model.txt" in line for line in running.log))
        model.write_bytes(whole)
        running.until(is_back(running))
        assert running.ready()["state"] == "ok"


@pytest.mark.slow
def test_paused_service_does_not_blame_or_restart_models(tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root) as running:
        with Traffic(running.port, dumps([published_models.ROW])) as traffic:
            time.sleep(0.2)
            for _ in range(4):
                running.process.send_signal(signal.SIGSTOP)
                time.sleep(0.2)
                running.process.send_signal(signal.SIGCONT)
                time.sleep(0.4)
        assert traffic.lost == []
        assert [told for told in traffic.told if told.status != 200] == []
        answered = traffic.versions()
        assert answered[LATEST] >= 0.95 * sum(answered.values()), answered
        assert running.ready()["state"] == "ok"
        counts = running.metrics()
        restarts = [counts[name] for name in counts if name.startswith("model_worker_restarts_total")]
        assert restarts
        assert not any(restarts), "no process was killed for it"
        late = [counts[name] for name in counts if name.startswith("inference_total") and 'status="timeout"' in name]
        assert not any(late), "no version is blamed"
