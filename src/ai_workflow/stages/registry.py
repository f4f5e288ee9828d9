"""Publication stage: a model that passed the quality gate becomes the next version."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, TypedDict

from ai_workflow import json_text
from ai_workflow.config.settings import ConfigModel
from ai_workflow.datasets import fingerprint
from ai_workflow.evaluation import model_card
from ai_workflow.features import transform
from ai_workflow.registry import publication
from ai_workflow.registry.registry import MANIFEST, Registry
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.storage.file_ref import FileChecksum, FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from ai_workflow.evaluation.report import EvaluationReport
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.registry.manifest import ModelFacts
    from ai_workflow.stages.evaluator import EvaluationResult
    from ai_workflow.stages.feature_engineering import FeatureData
    from ai_workflow.stages.trainer import TrainedModel

log = logger("registry")


class RegistryOptions(ConfigModel):
    """The folder that versions are published in."""

    folder: str


class PublishedVersion(TypedDict):
    """Result of `publish`: the version and references to its files."""

    fingerprint: str
    version: str
    folder: str
    trace_id: str | None
    message: str
    manifest: FileChecksum
    files: list[FileRecord]


@stage("registry")
def publish(
    store: Store,
    featured: FeatureData,
    trained: TrainedModel,
    evaluated: EvaluationResult,
    options: RegistryOptions,
) -> PublishedVersion:
    """Publish model, feature spec, card, plots and golden rows as the next version.

    Raises:
        StoreError: a file is damaged, or a file cannot be written; no version is published.
    """
    spec = read_spec(store, featured)
    files = {name: store.read(ref["path"], ref["sha256"]) for name, ref in evaluated["files"].items()}
    report: EvaluationReport = json.loads(files.pop("report.json"))
    registry = Registry(store, options.folder)
    model_file = trained["model"]["path"].rsplit("/", 1)[-1]
    files[model_file] = store.read(trained["model"]["path"], trained["model"]["sha256"])
    files["features.json"] = store.read(featured["spec"]["path"], featured["spec"]["sha256"])
    decision = {"threshold": report["threshold"], "calibration": trained["calibration"]}
    if present := {name: value for name, value in decision.items() if value}:
        # Scoring and service read them with the classes, from the spec of the version.
        files["features.json"] = json_text.document({**spec, **present})
    files["card.json"] = json_text.document(report)
    hashes = {name: ref["sha256"] for name, ref in evaluated["files"].items()}
    facts = _model_facts(spec, trained, report, model_file)
    version = publication.publish(
        registry,
        files,
        _schema(spec),
        facts,
        lambda name: {"card.md": model_card.render(report, name).encode()},
        origin=fingerprint.of(hashes, trained["fingerprint"], featured["spec"]),
    )
    path = f"{version.folder}/{MANIFEST}"
    manifest = hashlib.sha256(store.read(path)).hexdigest()
    return {
        "fingerprint": fingerprint.of(version.name, manifest),
        "version": version.name,
        "folder": version.folder,
        "trace_id": trace_context.current(),
        "message": _log_published(version.name, beats_baseline=facts["beats_baseline"]),
        "manifest": {"path": path, "sha256": manifest},
        "files": [version.file(name).to_json() for name in sorted(version.manifest["files"])],
    }


def _log_published(name: str, *, beats_baseline: bool) -> str:
    """Log and return the message of a published version."""
    message = f"{name} published as latest"
    if beats_baseline:
        log.info(message)
    else:
        message += ", never as the first stable: it does not beat the baseline"
        log.warning(message)
    return message


def _model_facts(spec: FeatureSpec, trained: TrainedModel, report: EvaluationReport, model_file: str) -> ModelFacts:
    """Return the entries of the manifest that describe the model."""
    return {
        "pipeline": spec["pipeline"],
        "task": spec["task"],
        "kind": trained["kind"],
        "model_file": model_file,
        "model": trained["fingerprint"],
        "data": report["data"],
        "scores": {name: report["scores"][name] for name in report["baseline"]},
        "scoring": report["scoring"],
        "baseline": report["baseline"],
        "beats_baseline": report["gate"]["beats_baseline"],
    }


def _schema(spec: FeatureSpec) -> str:
    """Return the fingerprint of inputs and outputs of a model; a change of it raises the major version."""
    inputs = {name: spec["schema"][name]["type"] for name in transform.input_columns(spec)}
    return fingerprint.of(inputs, spec["task"], spec["target"], spec["classes"])
