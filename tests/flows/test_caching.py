"""What ran before does not run again; what was changed, deleted or damaged does, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows import sample_tables
from tests.flows.workspace import SCORING, TRAINING, Run, Workplace

CACHED, SUCCESS = "CACHED", "SUCCESS"
# Each stage's own files that a later run relies on.
OF_TRAINING = {
    "data_loader": "data/loaded/*.parquet",
    "preprocessor": "data/clean/*.parquet",
    "feature_engineering": "data/features/*.parquet",
    "trainer": "data/trained/*/model.txt",
    "evaluator": "data/evaluated/*/report.json",
    "registry": "models/*/*/model_v1.0/card.md",
}
OF_SCORING = {"inference": "data/scored/*.parquet"}
PREDICTIONS = "predictions/*/*/*/part-*.parquet"


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def tamper(path: Path) -> None:
    whole = json.loads(path.read_text())
    whole["result"] = json.dumps(json.loads(whole["result"]) | {"steps": 999})
    path.write_text(json.dumps(whole))


@pytest.mark.slow
def test_repeated_run_uses_cache_for_every_stage(trained: Workplace) -> None:
    again, scored = trained.train(), trained.score()

    assert (again.code, scored.code) == (0, 0)
    assert again.stages == dict.fromkeys(TRAINING, CACHED)
    assert scored.stages == dict.fromkeys(SCORING, CACHED)
    assert again.of("registry").model_version == "model_v1.0"
    assert trained.registry.versions() == ["model_v1.0"]
    # A cached stage tells what it told when it ran, not nothing.
    assert again.of("data_loader").message == "300 records loaded"
    results = [json.loads(path.read_text()) for path in trained.files("results/*/*/*")]
    assert len(results) >= len(TRAINING) - 1
    assert {result["metadata"]["serializer"]["type"] for result in results} == {"json"}, "a pickle would be run as code"


@pytest.mark.slow
def test_changed_setting_reruns_only_dependent_stages(trained: Workplace) -> None:
    source = {"kind": "csv", "path": _path_of_source(trained)}
    trained.configure("steps.yaml", source=source, trainer=sample_tables.PIPELINE["trainer"] | {"steps": 12})
    trained.configure("gate.yaml", source=source, evaluate={"minimum": 0.6})
    # Neither a LightGBM training nor the predictions depend on how many rows are taken at once.
    trained.configure("batch.yaml", source=source, model={"batch_size": 7}, trainer=sample_tables.PIPELINE["trainer"])
    before = _stamps(trained, "data/**/*")

    retrained, judged, same, scored = trained.call(
        [
            {"flow": "training", "config": "steps.yaml"},
            {"flow": "training", "config": "gate.yaml"},
            {"flow": "training", "config": "batch.yaml"},
            {"flow": "scoring", "config": "batch.yaml", "version": "model_v1.0"},
        ]
    )

    assert retrained.stages == _split_at("trainer", TRAINING)
    assert judged.stages == _split_at("evaluator", TRAINING)
    assert same.stages == dict.fromkeys(TRAINING, CACHED)
    assert scored.stages == dict.fromkeys(SCORING, CACHED)
    assert trained.registry.versions() == ["model_v1.0", "model_v1.1", "model_v1.2"]
    assert trained.registry.aliases()["latest"] == "model_v1.2"
    after = _stamps(trained, "data/**/*.parquet")
    assert {path: after[path] for path in before if path.endswith(".parquet")}.items() <= before.items()


@pytest.mark.slow
def test_new_or_changed_file_recomputes_only_affected_partitions(trained: Workplace) -> None:
    for seed in (1, 2):
        sample_tables.write(trained.folder / f"rows-{seed}.csv", sample_tables.rows(seed=seed))
    trained.configure()
    known = {name: _stamps(trained, f"data/{name}/*") for name in ("loaded", "clean")}
    sample_tables.write(trained.folder / "rows-2.csv", sample_tables.rows(seed=12))
    sample_tables.write(trained.folder / "rows-3.csv", sample_tables.rows(seed=13))
    run = trained.train()

    assert run.code == 0, run.output
    assert run.of("data_loader").message == "450 records loaded"
    for name, before in known.items():
        now = _stamps(trained, f"data/{name}/*")
        assert {path: now[path] for path in before} == before, f"a partition of {name} was written again"
        assert _partitions(now) == _partitions(before) + 2, f"{name}: not one partition for each of the two files"


@pytest.mark.slow
def test_damaged_stage_output_is_recomputed_and_others_stay_cached(trained: Workplace) -> None:
    predictions = trained.files(PREDICTIONS)[0]
    before = predictions.read_bytes()
    for path in (*trained.files(OF_TRAINING["preprocessor"]), predictions):
        flip(path)
    run, scored = trained.call([{"flow": flow, "config": "pipeline.yaml"} for flow in ("training", "scoring")])

    assert run.stages == dict.fromkeys(TRAINING, CACHED) | {"preprocessor": SUCCESS}
    assert scored.stages == dict.fromkeys(SCORING, CACHED) | {"preprocessor": SUCCESS, "result_store": SUCCESS}
    assert any(str(predictions) in text for text in _warnings(scored, "result_store"))
    assert predictions.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [flip, pytest.param(truncate, marks=pytest.mark.soak), pytest.param(delete, marks=pytest.mark.soak)],
    ids=lambda damage: damage.__name__,
)
@pytest.mark.slow
def test_damaged_stage_file_is_recomputed_with_warning(trained: Workplace, damage: Callable[[Path], None]) -> None:
    hit = {stage: trained.files(pattern) for stage, pattern in (OF_TRAINING | OF_SCORING).items()}
    spec, model = (
        trained.registry.read(trained.registry.get("latest"), name) for name in ("features.json", "model.txt")
    )
    for path in (path for paths in hit.values() for path in paths):
        damage(path)

    # A new version answers from now on; it is the predictions of the old one that were damaged.
    run, scored = trained.call(
        [
            {"flow": "training", "config": "pipeline.yaml"},
            {"flow": "scoring", "config": "pipeline.yaml", "version": "model_v1.0"},
        ]
    )

    assert (run.code, scored.code) == (0, 0), run.output + scored.output
    assert run.stages == dict.fromkeys(TRAINING, SUCCESS)
    assert {scored.stages[stage] for stage in OF_SCORING} == {SUCCESS}
    for stage, paths in hit.items():
        told = _warnings(run if stage in OF_TRAINING else scored, stage)
        assert any(str(path) in text for path in paths for text in told), f"{stage} named none of {paths}"
    assert all(path.exists() for stage in OF_TRAINING if stage != "registry" for path in hit[stage])
    latest = trained.registry.get("latest")
    assert latest.name == "model_v1.1"
    assert trained.registry.read(latest, "features.json") == spec
    assert trained.registry.read(latest, "model.txt") == model


@pytest.mark.slow
def test_damaged_feature_spec_and_partition_lists_are_recomputed(trained: Workplace) -> None:
    spec = trained.files("data/features/spec-*.json")[0]
    model = trained.files(OF_TRAINING["trainer"])[0].read_bytes()
    delete(spec)
    for path in trained.files("data/datasets/*.json"):
        truncate(path)
    run, again = trained.call([{"flow": "training", "config": "pipeline.yaml"}] * 2)

    assert run.code == 0, run.output
    assert run.stages == dict.fromkeys(TRAINING, CACHED) | dict.fromkeys(TRAINING[:3], SUCCESS)
    assert spec.exists()
    assert trained.files(OF_TRAINING["trainer"])[0].read_bytes() == model
    assert again.stages == dict.fromkeys(TRAINING, CACHED)


@pytest.mark.slow
def test_damaged_prefect_result_is_ignored_with_warning(trained: Workplace) -> None:
    model = trained.files(OF_TRAINING["trainer"])[0].read_bytes()
    damages = (truncate, empty, flip, tamper, truncate, delete)
    for stage, damage in zip(TRAINING, damages, strict=True):
        for path in trained.files(f"results/{stage}/*/*"):
            damage(path)
    run = trained.train()

    assert run.code == 0, run.output
    assert run.stages == dict.fromkeys(TRAINING, SUCCESS)
    assert trained.files(OF_TRAINING["trainer"])[0].read_bytes() == model
    for stage, damage in zip(TRAINING, damages, strict=True):
        told = any(f"the cached result {stage}/" in text for text in _warnings(run, stage))
        assert told == (damage is not delete), f"{stage}: {damage.__name__}"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("model.txt", flip, id="model"),
        pytest.param("manifest.json", truncate, id="manifest", marks=pytest.mark.soak),
        pytest.param("manifest.json", delete, id="manifest deleted", marks=pytest.mark.soak),
    ],
)
@pytest.mark.slow
@pytest.mark.soak
def test_damaged_published_version_is_replaced_by_new_version(
    trained: Workplace, name: str, damage: Callable[[Path], None]
) -> None:
    model = trained.registry.read(trained.registry.get("latest"), "model.txt")
    damage(trained.files(f"models/*/*/model_v1.0/{name}")[0])
    run, again = trained.call([{"flow": "training", "config": "pipeline.yaml"}] * 2)

    assert run.code == 0, run.output
    assert run.stages == dict.fromkeys(TRAINING, CACHED) | {"registry": SUCCESS}
    assert any("model_v1.0" in text for text in _warnings(run, "registry"))
    latest = trained.registry.get("latest")
    assert latest.name != "model_v1.0"
    assert trained.registry.read(latest, "model.txt") == model
    assert not trained.leftovers()
    assert again.stages == dict.fromkeys(TRAINING, CACHED)


def _path_of_source(place: Workplace) -> str:
    return str(yaml.safe_load((place.folder / "pipeline.yaml").read_text())["source"]["path"])


def _split_at(stage: str, stages: tuple[str, ...]) -> dict[str, str]:
    at = stages.index(stage)
    return dict.fromkeys(stages[:at], CACHED) | dict.fromkeys(stages[at:], SUCCESS)


def _stamps(place: Workplace, pattern: str) -> dict[str, tuple[int, int, str]]:
    """Return inode, time of change and digest of files: a file written again differs even if its bytes do not."""
    found = {}
    for path in place.files(pattern):
        stat = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(place.var))] = (stat.st_ino, stat.st_mtime_ns, digest)
    return found


def _partitions(stamps: dict[str, Any]) -> int:
    return sum(name.endswith(".parquet") for name in stamps)


def _warnings(run: Run, stage: str) -> list[str]:
    return [
        line.message for line in run.ours("WARN") if line.logger in (f"ai_pipeline.{stage}", "ai_pipeline.partitions")
    ]


@pytest.mark.slow
@pytest.mark.soak
def test_cached_results_of_other_store_are_reported_as_missing(trained: Workplace, tmp_path: Path) -> None:
    results = trained.var / "results"
    other = tmp_path / "other"
    run = trained.start(
        ["-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml"],
        AIW_STORE=str(other), PREFECT_LOCAL_STORAGE_PATH=str(results),
    )  # fmt: skip

    assert run.code == 0, run.output
    for stage in TRAINING:
        [text] = _warnings(run, stage)
        assert re.fullmatch(
            rf"{re.escape(str(other))}/\S+ does not exist, because it was deleted or the cached result is of another "
            "store: the stage runs again",
            text,
        )
    assert list(other.glob("models/*/*/model_v1.0/manifest.json"))
