"""The last lines of `make run` and `make up`: commands that act on the same pipeline, environment and store."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from ai_workflow.cli.main import exit_code
from ai_workflow.config import loader
from ai_workflow.local import first_run, run_report
from ai_workflow.local.prefect_settings import UrlUnsetError, require_url
from ai_workflow.local.run_report import Hints
from ai_workflow.local.stack import served_versions
from tests.serving import published_models
from tests.serving.running_service import Running


@pytest.mark.parametrize(
    ("hints", "command"),
    [
        (Hints(), "make run"),
        (Hints("own.yaml"), "make run PIPELINE=own.yaml"),
        (Hints(None, "production"), "make run ENVIRONMENT=production"),
        (Hints(None, None, "/data", "/data"), "make run STORE=/data"),
        (Hints("a b's.yaml", "production"), """make run PIPELINE='a b'"'"'s.yaml' ENVIRONMENT=production"""),
    ],
)
def test_make_hint_has_pipeline_and_environment(hints: Hints, command: str) -> None:
    assert hints.make("run") == command
    assert shlex.split(command)[:2] == ["make", "run"]


def test_trace_hint_has_non_default_environment_or_store() -> None:
    root, of_production = (loader.load(None, environment=name).settings.store.root for name in (None, "production"))
    assert Hints(None, None, root).trace("--failed") == ".venv/bin/ai-workflow trace --failed"
    assert Hints(None, "production", of_production).trace("--last").endswith(" --environment production --last")
    assert (
        Hints("own.yaml", "production", "/data/my store").trace("--list").endswith(" --store '/data/my store' --list")
    )


def test_failure_report_suggests_commands_for_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = run_report.failure("no rows\x1b[31m\nmore", Hints("own.yaml", None, "/elsewhere"))
    assert text.splitlines()[1:3] == [r"error: no rows\x1b[31m", "more"]
    assert "look back  .venv/bin/ai-workflow trace --store /elsewhere --failed" in text


def _next(hints: Hints, pipeline: str | None = None) -> dict[str, str]:
    return dict(first_run._next(loader.load(pipeline).settings, hints))


def test_command_explanations_are_aligned() -> None:
    lines = _next(Hints("/a/rather/long/name/of/a/pipeline.yaml", "production"))
    texts = {"again": "every stage", "serve": "answers", "all of it": "worker"}
    starts = {lines[name].index(text) for name, text in texts.items()}
    assert len(starts) == 1
    assert all("ENVIRONMENT=production" in line for line in lines.values())


def test_own_data_hint_is_shown_only_for_sample_pipeline(tmp_path: Path) -> None:
    assert "ENVIRONMENT=production" in _next(Hints(None, "production"))["your data"]
    assert "your data" not in _next(Hints("own.yaml"))
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"pipeline": "own", "source": {"kind": "csv", "path": "x.csv"}, "target": "y",
                                   "task": "regression", "evaluate": {"metric": "rmse", "minimum": 1}}))  # fmt: skip
    assert "your data" not in _next(Hints(), str(own))


def test_deploy_and_register_require_prefect_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with temporary_settings({PREFECT_API_URL: None}):
        with pytest.raises(UrlUnsetError, match=r"PREFECT_API_URL is not set\. Set it to .*, such as http"):
            require_url(tmp_path / "var")
        assert exit_code(["blocks", "register"]) == 2
    assert capsys.readouterr().err.startswith("error: PREFECT_API_URL is not set. Set it to ")


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [1, 2])
def test_status_shows_serving_version_not_published_version(damaged: int, tmp_path: Path) -> None:
    root = tmp_path / "store"
    for seed in (0, 1):
        published_models.publish(root, seed)
    pipeline = published_models.pipeline(tmp_path, inference={"default_response": {"prediction": "A"}})
    loaded = loader.load(pipeline, overrides={"store.root": str(root)})
    names = published_models.registry(root).versions()
    with Running(pipeline, root) as whole:
        line = served_versions.line(loaded.settings, whole.port, Hints())
        assert line == f"{names[1]} (latest), {names[0]} (stable)"
    for name in names[-damaged:]:
        model = root / published_models.FOLDER / name / "model.txt"
        model.write_bytes(model.read_bytes()[:500])
    with Running(pipeline, root) as running:
        line = served_versions.line(loaded.settings, running.port, Hints())
    assert line.startswith(names[0] if damaged == 1 else "none: requests get the default response")
    assert "(degraded: " in line
    assert f"{names[1]}: " in line
    assert "the inference service does not answer" in served_versions.line(loaded.settings, running.port, Hints())
