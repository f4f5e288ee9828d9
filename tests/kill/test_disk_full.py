"""On a full disk a run says which place is full and what to do, harms nothing, and goes on once there is space."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kill.conftest import Reference
from tests.kill.kill_workspace import Done, Place, names

SIZE = 16 * 2**20
FLOWS = {
    "training": ("data_loader", "preprocessor", "feature_engineering", "trainer", "evaluator", "registry"),
    "scoring": ("preprocessor", "feature_engineering", "inference", "result_store"),
}
STAGES = [(flow, stage) for flow, stages in FLOWS.items() for stage in stages]
FULL = "The disk is full: free some space and run again; nothing is lost"
TOO_LARGE = "File too large"
# What writes most, and what publishes; the others run each night.
OFTEN = ("trainer", "result_store")


@dataclass
class Disk:
    """A small disk of its own, and how much of it is used while each stage of a flow works."""

    folder: Path
    used: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    @property
    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def measure(self, place: Place) -> None:
        """Run both flows, and note what is used at the least and at the most in each stage."""
        for flow in FLOWS:
            known, running = set(names(place.var / "journal")), place.start(flow)

            def look(flow: str = flow, known: set[str] = known) -> None:
                used = SIZE - self.free
                for trace in set(names(place.var / "journal")) - known:
                    events = sorted(name for name in names(place.var / "journal" / trace) if name.endswith(".json"))
                    stage = events[-1].split("-")[1] if events else "run"
                    least, most = self.used.get((flow, stage), (used, used))
                    self.used[flow, stage] = min(least, used), max(most, used)

            running.until(look)
            assert running.end().code == 0

    def fill(self, flow: str, stage: str, share: float) -> None:
        """Leave only so much space that the disk is full when a stage has written a share of what it writes."""
        least, most = self.used[flow, stage]
        self.ballast.write_bytes(b"\1" * max(0, self.free - (least + int(share * (most - least)) - self.base(flow))))

    def base(self, flow: str) -> int:
        """What is used when a flow begins; its first event may be over before it was seen."""
        return min(least for (of, _), (least, _) in self.used.items() if of == flow) if flow == "scoring" else 0

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"


@pytest.fixture(scope="session")
def disk(reference: Reference, source: Path) -> Iterator[Disk | None]:
    """A disk in memory; None where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="disk-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            made = Disk(Path(name))
            with tempfile.TemporaryDirectory(prefix="measure-") as folder:
                place = Place(Path(folder), source, made.folder / "var")
                made.measure(place)
                shutil.rmtree(place.var)
            yield made
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def _said(done: Done, place: Place, reason: str) -> None:
    """Check that the place, the reason and the remedy are said, in one line, and that nothing is half done."""
    assert "Traceback" not in done.output, done.output
    if done.code:
        errors = [text for text in done.said("ERROR") if str(place.var) in text and reason in text]
        assert errors, done.output
        assert all("\n" not in text for text in errors)
    aliases = place.registry.aliases()
    for name in place.registry.versions():
        version = place.registry.get(name)
        for file in version.manifest["files"]:
            place.registry.read(version, file)
    assert aliases["latest"] in (None, *place.registry.versions())
    place.registry.history()


def _starved(disk: Disk, folder: Path, reference: Reference, flow: str, stage: str, share: float) -> Done:
    """Run a flow that finds the disk full in a stage, then both with space; return what the first said."""
    place = Place(folder, reference.place.source, disk.folder / "var")
    try:
        if flow == "scoring":
            assert place.run().code == 0
        disk.fill(flow, stage, share)
        starved = place.run(flow)
        _said(starved, place, FULL)
        disk.ballast.unlink()
        for each in FLOWS:
            done = place.run(each)
            assert done.code == 0, f"full in {stage} at {share:.0%}, then:\n{done.output}"
        reference.is_matched_by(place)
        return starved
    finally:
        disk.ballast.unlink(missing_ok=True)
        shutil.rmtree(place.var, ignore_errors=True)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    ("flow", "stage"),
    [
        pytest.param(*each, marks=pytest.mark.kill if each[1] in OFTEN else pytest.mark.soak, id="-".join(each))
        for each in STAGES
    ],
)
def test_full_disk_in_any_stage_is_reported_without_loss(
    disk: Disk | None, reference: Reference, tmp_path: Path, flow: str, stage: str
) -> None:
    if disk is None:
        _limited(tmp_path, reference, 4 + STAGES.index((flow, stage)) * 8)
        return
    # What a stage writes last may fit in where its first half did not: less space, until it does not fit.
    for share in (0.5, 0.2, 0.02):
        if _starved(disk, tmp_path / f"{share}", reference, flow, stage, share).code:
            return
    raise AssertionError("the disk was never full")


@pytest.mark.kill
@pytest.mark.timeout(2400)
def test_full_disk_during_publish_keeps_previous_version(
    disk: Disk | None, reference: Reference, tmp_path: Path
) -> None:
    var = disk.folder / "var" if disk else tmp_path / "var"
    shutil.copytree(reference.place.var, var)
    place = Place(tmp_path, reference.place.source, var, trainer={"seed": 7})
    try:
        for kibibytes in (8, 40, 120, 240):
            if disk:
                disk.ballast.write_bytes(b"\1" * max(0, disk.free - kibibytes * 1024))
                _said(place.run(), place, FULL)
                disk.ballast.unlink()
            else:
                _said(_run_limited(place, kibibytes), place, TOO_LARGE)
            assert place.outcome("model_v1.0") == reference.outcome
        assert place.run().code == 0
        assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.0"}
    finally:
        if disk:
            disk.ballast.unlink(missing_ok=True)
            shutil.rmtree(var, ignore_errors=True)


@pytest.mark.kill
@pytest.mark.timeout(2400)
def test_file_size_limit_is_reported_without_loss(reference: Reference, tmp_path: Path) -> None:
    _limited(tmp_path, reference, 40)


def _limited(folder: Path, reference: Reference, kibibytes: int) -> None:
    """The same by a limit on the size of files, which every user can set."""
    place = Place(folder, reference.place.source)
    _said(_run_limited(place, kibibytes), place, TOO_LARGE)
    for flow in FLOWS:
        done = place.run(flow)
        assert done.code == 0, done.output
    reference.is_matched_by(place)


def _run_limited(place: Place, kibibytes: int) -> Done:
    # The output goes through a pipe, which the limit does not touch.
    shell = f'( ulimit -f {kibibytes}; exec "$0" "$@" ) 2>&1 | cat'
    assert sys.executable
    return place.start(wrapper=("bash", "-o", "pipefail", "-c", shell)).end()
