"""`POST /labels`: what is taken is on disk and reaches the evaluation once; of what is wrong, nothing is taken."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.errors import StoreError
from ai_workflow.quality import label_store
from ai_workflow.serving.logs import label_log
from ai_workflow.serving.logs.label_log import LabelLog
from ai_workflow.storage.store import Store
from tests import ending_commands, labeled_predictions
from tests.serving import published_models
from tests.serving.running_service import CLI, Running

HANDED = f"{label_store.FOLDER}/{published_models.PIPELINE}/service"
CALLERS, TOKEN = "for-callers-only", "for-labels-only"


def pipeline(folder: Path, **settings: Any) -> Path:
    log = {"enabled": False, "segment_seconds": 0.3}
    return published_models.pipeline(folder, service={"prediction_log": log, **settings})


def open_lines(root: Path) -> list[dict[str, Any]]:
    """Return the labels in segments that are not handed over."""
    paths = sorted((root / label_log.FOLDER / published_models.PIPELINE).glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def handed(root: Path) -> list[dict[str, Any]]:
    """Return the labels that the evaluation finds."""
    store = Store(root)
    names = store.names(HANDED)
    return [json.loads(line) for name in names for line in store.read(f"{HANDED}/{name}").splitlines()]


def post(running: Running, *labels: Any, **headers: str) -> Any:
    return running.http.post("/labels", json={"labels": list(labels)}, headers=headers)


def store_of(running: Running) -> Path:
    arguments = running.process.args
    assert isinstance(arguments, list)
    return Path(arguments[arguments.index("--store") + 1])


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for the tests that leave it as it is; its labels are not handed over."""
    folder = tmp_path_factory.mktemp("labels")
    published_models.publish(folder / "store", 0)
    tokens = {"token": CALLERS, "label_token": TOKEN, "max_body_bytes": 100_000}
    with Running(published_models.pipeline(folder, service=tokens), folder / "store") as found:
        found.http.headers["authorization"] = f"Bearer {TOKEN}"
        yield found


@pytest.mark.slow
def test_duplicate_labels_are_counted_once_in_evaluation(tmp_path: Path, root: Path) -> None:
    folder = pipeline(tmp_path, prediction_log={"enabled": True, "segment_seconds": 0.3})
    with Running(folder, root) as running:
        told = running.predict(*published_models.rows(10, 3))
        labels = [{"prediction_id": one["prediction_id"], "label": one["prediction"]} for one in told["predictions"]]
        labels[0]["label"] = "no" if labels[0]["label"] == "yes" else "yes"
        for _ in range(3):
            response = post(running, *labels)
            assert (response.status_code, response.json()) == (200, {"accepted": 10})
        running.until(lambda: len(handed(root)) == 30)
    found = labeled_predictions.join(Store(root), labeled_predictions.settings(), time.time())
    assert labeled_predictions.counts(found, told["model_version"]) == (10, 9)
    assert open_lines(root) == handed(root) == []


@pytest.mark.integration
def test_label_timestamp_formats_and_class_names_are_normalized(taking: Running) -> None:
    labels = [
        {"prediction_id": "m0", "label": "yes", "time": "2026-01-31T12:30:00+01:00"},
        {"prediction_id": "m1", "label": "no", "time": "2026-01-31T11:30:00"},
        {"prediction_id": "m2", "label": "yes", "time": 1_700_000_000, "more": "is ignored"},
        {"prediction_id": "m3", "label": "no"},
    ]
    before = time.time()
    assert post(taking, *labels).status_code == 200
    root = store_of(taking)
    found = {line["prediction_id"]: line for line in open_lines(root) if line["prediction_id"].startswith("m")}
    assert [line["label"] for line in found.values()] == ["yes", "no", "yes", "no"]
    assert found["m0"]["time"] == found["m1"]["time"] == 1_769_859_000
    assert found["m2"]["time"] == 1_700_000_000
    assert before - 1 <= found["m3"]["time"] <= time.time() + 1


@pytest.mark.integration
def test_label_of_unknown_class_is_rejected_and_counted(taking: Running) -> None:
    counted = 'inference_labels_rejected_total{pipeline="shop",reason="unknown_class"}'
    before, lines = taking.metrics(CALLERS)[counted], open_lines(store_of(taking))
    for label, shown in (("maybe", "'maybe'"), (1, "1"), (True, "true"), ("Yes", "'Yes'")):
        response = post(taking, GOOD, {**GOOD, "label": label})
        assert response.status_code == 400
        assert response.json()["error"] == f"labels[1].label {shown} is none of the classes 'no', 'yes'"
    assert taking.metrics(CALLERS)[counted] == before + 4
    assert open_lines(store_of(taking)) == lines


GOOD = {"prediction_id": "a", "label": "yes"}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"[]", 400, "the body must be"),
        (b'{"labels": []}', 400, "at least one label"),
        (json.dumps({"labels": [GOOD] * 1001}), 400, "1001 labels are more than 1000"),
        (json.dumps({"labels": [GOOD, 1]}), 400, "labels[1] is not a mapping"),
        (json.dumps({"labels": [GOOD, {"label": "yes"}]}), 400, "labels[1].prediction_id is not a text"),
        (json.dumps({"labels": [{**GOOD, "prediction_id": "x" * 501}]}), 400, "labels[0].prediction_id"),
        (json.dumps({"labels": [{**GOOD, "label": None}]}), 400, "labels[0].label is not a text"),
        (json.dumps({"labels": [{**GOOD, "label": ""}]}), 400, "labels[0].label is not a text"),
        (json.dumps({"labels": [{**GOOD, "label": ["yes"]}]}), 400, "labels[0].label is not a text"),
        (json.dumps({"labels": [{**GOOD, "time": "soon"}]}), 400, "labels[0].time is not a date"),
        (json.dumps({"labels": [{**GOOD, "time": "2999-01-01"}]}), 400, "labels[0].time lies in the future"),
        (json.dumps({"labels": [{**GOOD, "time": -1}]}), 400, "labels[0].time lies before 1970"),
        (json.dumps({"labels": [{**GOOD, "time": True}]}), 400, "labels[0].time is neither a date"),
        (b" " * 100_001, 413, "larger than 100000 bytes"),
    ],
)  # fmt: skip
def test_invalid_label_rejects_whole_request_with_position(
    body: bytes, status: int, said: str, taking: Running
) -> None:
    root = store_of(taking)
    before = open_lines(root)
    response = taking.http.post("/labels", content=body)
    assert response.status_code == status
    assert said in response.json()["error"]
    assert open_lines(root) == before


@pytest.mark.integration
def test_labels_require_label_token_and_uncompressed_body(taking: Running) -> None:
    for other in ("Bearer no", f"Bearer {CALLERS}", TOKEN, f"Basic {TOKEN}", ""):
        assert post(taking, GOOD, authorization=other).status_code == 401
    assert taking.http.post("/predict", content=b"{}").status_code == 401, "the token of labels opens labels only"
    body = gzip.compress(json.dumps({"labels": [GOOD]}).encode())
    response = taking.http.post("/labels", content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 415
    assert taking.http.get("/labels").status_code == 405


@pytest.mark.integration
@pytest.mark.parametrize("tokens", [{"token": CALLERS}, {"admin_token": "for-administrators"}])
def test_labels_endpoint_returns_404_without_label_token(tmp_path: Path, tokens: dict[str, str]) -> None:
    with Running(pipeline(tmp_path, **tokens), tmp_path) as running:
        for token in tokens.values():
            response = post(running, GOOD, authorization=f"Bearer {token}")
            assert response.status_code == 404
            assert "service.label_token is not set" in response.json()["error"]
        described = running.http.get("/openapi.json", headers={"authorization": f"Bearer {CALLERS}"}).json()
        assert "/labels" not in described["paths"]


@pytest.mark.integration
def test_future_label_timestamp_does_not_override_later_label(taking: Running) -> None:
    for label, ahead in (("no", 250), ("yes", 0.0)):
        assert post(taking, {"prediction_id": "ahead", "label": label, "time": time.time() + ahead}).status_code == 200
    lines = [line for line in open_lines(store_of(taking)) if line["prediction_id"] == "ahead"]
    assert [line["label"] for line in sorted(lines, key=lambda line: line["time"])] == ["no", "yes"]
    assert all(line["time"] <= time.time() for line in lines)


@pytest.mark.integration
def test_prediction_ids_are_unpredictable(tmp_path: Path, root: Path) -> None:
    with Running(pipeline(tmp_path), root) as running:
        told = [running.predict(*published_models.rows(2, 1))["predictions"] for _ in range(20)]
    stems = [predictions[0]["prediction_id"].removesuffix("-0") for predictions in told]
    assert [predictions[1]["prediction_id"] for predictions in told] == [f"{stem}-1" for stem in stems]
    assert all(re.fullmatch("[0-9a-f]{32}", stem) for stem in stems)
    common = [place for place in range(32) if len({stem[place] for stem in stems}) == 1]
    assert common == [], "each digit is drawn anew"


@pytest.mark.integration
def test_identical_service_and_label_tokens_are_rejected(tmp_path: Path) -> None:
    place = pipeline(tmp_path, token="one-for-all", label_token="one-for-all")
    command = [sys.executable, *CLI, "--pipeline", str(place), "--store", str(tmp_path)]
    done = ending_commands.run(command)
    assert done.returncode == 2
    assert "service.label_token and service.token have the same value" in done.stderr
    assert "one-for-all" not in done.stderr


@pytest.mark.integration
def test_regression_labels_accept_numeric_strings(tmp_path: Path) -> None:
    with Running(
        published_models.pipeline(tmp_path, task="regression", inference={"default_response": None}), tmp_path
    ) as running:
        for label in (3, "3", " 3.0"):
            assert post(running, {**GOOD, "label": label}).status_code == 200
        for label, shown in (("many", "'many'"), (True, "true")):
            response = post(running, {**GOOD, "label": label})
            assert (response.status_code, response.json()["error"]) == (400, f"labels[0].label {shown} is not a number")
        assert [line["label"] for line in open_lines(tmp_path)] == ["3.0"] * 3


@pytest.mark.slow
def test_killed_service_loses_no_accepted_label(tmp_path: Path) -> None:
    folder = published_models.pipeline(tmp_path)
    with Running(folder, tmp_path) as running:
        for number in range(5):
            assert post(running, {**GOOD, "prediction_id": str(number)}).status_code == 200
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    with Running(folder, tmp_path) as running:
        running.until(lambda: open_lines(tmp_path) == [])
        assert [line["prediction_id"] for line in handed(tmp_path)] == list("01234")


@pytest.mark.slow
def test_disk_error_returns_503_and_later_label_is_accepted(tmp_path: Path) -> None:
    with Running(published_models.pipeline(tmp_path), tmp_path) as running:
        (tmp_path / label_log.FOLDER).write_text("a file where a folder should be")
        response = post(running, GOOD)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "the labels are not stored" in response.json()["error"]
        (tmp_path / label_log.FOLDER).unlink()
        assert post(running, GOOD).status_code == 200


def test_failed_label_write_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LabelLog(Store(tmp_path), tmp_path / "log", "shop", 60)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async def go() -> None:
        await log.add(b'{"one": 1}\n')
        with monkeypatch.context() as patched:
            patched.setattr("os.fdatasync", full)
            with pytest.raises(StoreError, match="No space left"):
                await log.add(b'{"two": 2}\n')
        await log.add(b'{"three": 3}\n')

    asyncio.run(go())
    log.close()
    store = Store(tmp_path)
    kept = sorted(store.read(f"labels/shop/service/{name}") for name in store.names("labels/shop/service"))
    assert kept == [b'{"one": 1}\n', b'{"three": 3}\n']


def test_label_segment_race_at_creation_loses_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LabelLog(Store(tmp_path), tmp_path / "log", "shop", 60)
    locked, early = fcntl.flock, [log._move_closed]

    def flock(file: Any, how: int) -> None:
        # Created, and not yet locked.
        if how == fcntl.LOCK_EX and early:
            early.pop()()
        locked(file, how)

    monkeypatch.setattr("fcntl.flock", flock)
    asyncio.run(log.add(b'{"one": 1}\n'))
    log.close()
    store = Store(tmp_path)
    assert [store.read(f"labels/shop/service/{name}") for name in store.names("labels/shop/service")] == [
        b'{"one": 1}\n'
    ]


def test_non_local_store_needs_spool_folder_for_labels() -> None:
    assert label_log.segment_folder(Store("memory://place"), None, "shop") is None
    assert label_log.segment_folder(Store("memory://place"), "spool", "shop") == Path("spool/_labels/shop")
