"""A new version takes over once it has shown that it answers; a bad one never touches those that serve."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from ai_workflow.config.settings import Retention
from ai_workflow.registry import pruning
from ai_workflow.registry.changes import Change
from ai_workflow.registry.registry import Registry
from ai_workflow.training.families import mlp_model
from tests.serving import published_models
from tests.serving.running_service import Running, children, dumps
from tests.serving.traffic import Traffic

pytestmark = pytest.mark.integration

LATEST, STABLE, NEW = "model_v1.1", "model_v1.0", "model_v1.2"


def serves(running: Running, version: str) -> bool:
    return bool(running.predict(published_models.ROW)["model_version"] == version)


def point(registry: Registry, version: str) -> None:
    """Point `latest` at a version."""
    with registry.locked():
        registry.change(lambda _: Change("rollback", "a test", [version], latest=version))


@pytest.mark.slow
def test_new_latest_version_replaces_old_without_lost_requests(tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path, inference=published_models.PATIENT), root) as running:
        before = running.workers()
        with Traffic(running.port, dumps([published_models.ROW])) as traffic:
            time.sleep(0.2)
            published_models.publish(root, 2)
            running.until(lambda: serves(running, NEW))
            time.sleep(0.3)
        assert traffic.lost == []
        assert set(traffic.versions()) == {LATEST, NEW}, "neither stable nor a default was needed"
        assert not any(told.body["fallback"] for told in traffic.told)
        running.until(lambda: set(running.workers()) == {NEW, STABLE})
        assert running.workers()[STABLE] == before[STABLE], "the process of stable is the same"
        assert set(published_models.registry(root).leases.holders()) == {NEW, STABLE}
        metrics = running.metrics()
        assert not any(LATEST in name for name in metrics), "what serves no more is shown no more"


def test_serving_versions_are_leased_and_kept_by_retention(tmp_path: Path, root: Path) -> None:
    registry, strict = published_models.registry(root), Retention(versions=1, min_age_hours=0)
    for seed in (2, 3, 4):
        published_models.publish(root, seed)
    point(registry, LATEST)
    with Running(published_models.pipeline(tmp_path), root) as running:
        assert serves(running, LATEST)
        point(registry, "model_v1.4")
        # Not yet seen by the service, and no alias points at it any more.
        reasons = {item.name: " ".join(item.reasons) for item in pruning.plan(registry, strict)}
        assert "service" in reasons[LATEST]
        running.until(lambda: serves(running, "model_v1.4"))
        running.until(lambda: not any(item.is_kept for item in pruning.plan(registry, strict) if item.name == LATEST))


_SLOW = [
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("odd spec", "endless", "NaN", "no spec", "unknown family")
]


@pytest.mark.parametrize("bad", ["cut", "other answers", *_SLOW])
@pytest.mark.slow
def test_invalid_new_version_does_not_affect_serving_versions(bad: str, tmp_path: Path, root: Path) -> None:
    text = published_models.files(2)["model.txt"]
    golden = json.loads(published_models.files(2)["golden.json"])
    pipeline = published_models.pipeline(tmp_path, model={"timeout": 2}, inference=published_models.PATIENT)
    with Running(pipeline, root) as running:
        before = running.workers()
        with Traffic(running.port, dumps([published_models.ROW]), rate=100) as traffic:
            time.sleep(0.1)
            match bad:
                case "cut":  # crashes the parser
                    published_models.publish(root, 2, model=text[: len(text) // 2])
                case "endless":  # a tree that is its own child
                    published_models.publish(root, 2, model=_endless(text))
                case "other answers":
                    changed = [[value + 0.01 for value in row] for row in golden["answers"]]
                    published_models.publish(root, 2, golden=json.dumps({**golden, "answers": changed}).encode())
                case "NaN":
                    published_models.publish(root, 2, model=_not_a_number(text))
                case "odd spec":
                    published_models.publish(
                        root, 2, features=json.dumps({**published_models.spec(), "features": ["price"]}).encode()
                    )
                case "no spec":
                    published_models.publish(root, 2, features=b"{}")
                case "unknown family":
                    published_models.publish(root, 2, kind="crystal_ball")
            running.until(lambda: any(f"{NEW} is not served" in line for line in running.log))
            if bad == "unknown family":
                running.until(lambda: any("not served" in line and "crystal_ball" in line for line in running.log))
            time.sleep(0.2)
        assert traffic.lost == []
        assert set(traffic.versions()) == {LATEST}
        found = running.predict(published_models.ROW)
        assert found["fallback"] is True
        assert found["fallback_reason"].startswith(f"{NEW}: not_loaded (")
        assert str(root) not in found["fallback_reason"]
        assert running.ready()["state"] == "degraded"
        running.until(lambda: running.workers() == before)
        # Once a good one comes, it takes over.
        published_models.publish(root, 3)
        running.until(lambda: serves(running, "model_v1.3"))
        assert running.ready()["state"] == "ok"


def _endless(text: bytes) -> bytes:
    head, _, rest = text.partition(b"left_child=")
    children_, newline, more = rest.partition(b"\n")
    return head + b"left_child=" + b" ".join([b"0", *children_.split()[1:]]) + newline + more


def _not_a_number(text: bytes) -> bytes:
    head, _, rest = text.partition(b"leaf_value=")
    values, newline, more = rest.partition(b"\n")
    return head + b"leaf_value=" + b" ".join([b"nan"] * len(values.split())) + newline + more


def test_rollback_of_latest_alias_is_applied(tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root) as running:
        assert serves(running, LATEST)
        point(published_models.registry(root), STABLE)
        running.until(lambda: serves(running, STABLE))
        found = running.predict(published_models.ROW)
        assert found["fallback"] is False, "it is latest now"
        running.until(lambda: set(running.workers()) == {STABLE})


@pytest.mark.slow
def test_missing_or_damaged_registry_keeps_serving_version(tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root) as running:
        aliases = root / published_models.FOLDER / "aliases.json"
        whole = aliases.read_bytes()
        aliases.write_bytes(b"{")
        running.until(lambda: any("the registry cannot be read" in line for line in running.log))
        failures = running.metrics()["model_registry_failures_total"]
        # More reads fail: each is counted, and none is logged again.
        running.until(lambda: running.metrics()["model_registry_failures_total"] >= failures + 2)
        [line] = [line for line in running.log if "the registry cannot be read" in line]
        assert "[WARN]" in line
        assert "aliases.json" in line
        assert serves(running, LATEST)
        ready = running.ready()
        assert (ready["ready"], ready["state"], ready["serving"]) == (True, "ok", LATEST)
        aliases.write_bytes(whole)
        running.until(lambda: any("the registry can be read again" in line for line in running.log))
        shutil.move(root / published_models.FOLDER, tmp_path / "away")
        time.sleep(0.5)
        assert serves(running, LATEST)
        shutil.rmtree(root / published_models.FOLDER, ignore_errors=True)
        shutil.move(tmp_path / "away", root / published_models.FOLDER)
        published_models.publish(root, 2)
        running.until(lambda: serves(running, NEW))


def test_stable_with_other_columns_serves_rows_with_both_schemas(tmp_path: Path, faults: Path, root: Path) -> None:
    columns = {name: column for name, column in published_models.COLUMNS.items() if name != "price"} | {
        "cost": {"type": "number"}
    }
    made = [
        {**feature, "name": "cost", "column": "cost"} if feature["column"] == "price" else feature
        for feature in published_models.FEATURES
    ]
    golden = json.loads(published_models.files(2)["golden.json"])
    for row in golden["rows"]:
        row["cost"] = row.pop("price")
    version = published_models.publish(
        root,
        2,
        schema="b",
        features=json.dumps(published_models.spec(columns, made)).encode(),
        golden=json.dumps(golden).encode(),
    )
    assert version.name == "model_v2.0"
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        (faults / version.name).write_text("raise")
        both = {**published_models.ROW, "cost": 9.5}
        assert running.predict(both)["model_version"] == STABLE
        only = {name: value for name, value in both.items() if name != "price"}
        found = running.predict(only)
        assert found["model_version"] == "default"
        assert "model_v1.0: unfit" in found["fallback_reason"]
        response = running.http.post("/predict", content=dumps([published_models.ROW]))
        assert response.status_code == 400, "what latest needs decides on what a request must have"


@pytest.mark.slow
def test_python_model_family_is_served_and_recovers_after_hang(tmp_path: Path) -> None:
    root, faults = tmp_path / "store", tmp_path / "faults"
    faults.mkdir()
    x = published_models.matrix(published_models.rows(8, 99))
    model = _network(x.shape[1])
    answers = mlp_model.load(model)(x).tolist()
    golden = json.dumps({"rows": published_models.rows(8, 99), "answers": answers}).encode()
    published_models.publish(root, 0, kind="torch_mlp", model=model, golden=golden)
    published_models.publish(root, 1, kind="torch_mlp", model=model, golden=golden)
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        found = running.predict(*published_models.rows(40, 7))
        known = mlp_model.load(model)(published_models.matrix(published_models.rows(40, 7)))
        scores = [told["score"] for told in found["predictions"]]
        assert scores == pytest.approx(known.max(axis=1).tolist(), rel=1e-9)
        (faults / LATEST).write_text("hang")
        running.until(lambda: serves(running, STABLE))
        (faults / LATEST).unlink()
        running.until(lambda: serves(running, LATEST))


def _network(features: int) -> bytes:
    chance = np.random.default_rng(0)
    tensors = {
        "layer0.weight": chance.normal(size=(4, features)).astype(np.float32),
        "layer0.bias": np.zeros(4, np.float32),
        "layer1.weight": chance.normal(size=(2, 4)).astype(np.float32),
        "layer1.bias": np.zeros(2, np.float32),
        "mean": np.zeros(features),
        "scale": np.ones(features),
    }
    about = {"task": "classification", "layers": 2, "numeric": list(range(features)), "categories": []}
    return mlp_model.serialize(tensors, about)


def cost(running: Running) -> dict[str, float]:
    """Return what a service holds: processes, open files, memory of its main process in MiB."""
    pid = running.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "processes": len(children(pid)),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "MiB": int(status.split("VmRSS:")[1].split()[0]) / 1024,
    }


def reload_often(tmp_path: Path, root: Path, warm: int, times: int) -> tuple[dict[str, float], dict[str, float]]:
    """Change latest again and again under traffic; return what the service held before, and after."""
    published_models.publish(root, 2)
    registry = published_models.registry(root)
    pipeline = published_models.pipeline(tmp_path, service={"reload_seconds": 0.02}, inference=published_models.PATIENT)
    with Running(pipeline, root) as running:

        def reload(times: int) -> dict[str, float]:
            with Traffic(running.port, dumps([published_models.ROW]), rate=100) as traffic:
                for number in range(times):
                    version = (LATEST, NEW)[number % 2]
                    point(registry, version)
                    running.until(lambda version=version: running.ready()["serving"] == version)
            assert traffic.lost == []
            assert {told.status for told in traffic.told} == {200}
            assert set(traffic.versions()) <= {LATEST, NEW}
            running.until(lambda: len(running.workers()) == 2)
            # The callers hang up, and the last version is let go; the one that serves is still counted.
            time.sleep(0.5)
            pipeline = f'pipeline="{published_models.PIPELINE}"'
            success = f'inference_requests_total{{{pipeline},status="success"}}'
            total = f'inference_total{{model_version="{version}",{pipeline},status="success"}}'
            before = running.metrics()
            running.predict(published_models.ROW)
            after = running.metrics()
            assert [after[name] - before[name] for name in (success, total)] == [1, 1]
            return cost(running)

        return reload(warm), reload(times)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_500_hot_reloads_lose_no_request_and_leak_no_resources(tmp_path: Path, root: Path) -> None:
    before, after = reload_often(tmp_path, root, 50, 500)
    assert after["processes"] == before["processes"]
    assert after["files"] <= before["files"]
    assert after["MiB"] <= 1.1 * before["MiB"]
