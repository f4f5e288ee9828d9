"""Publishes a model that passed the gate: one version with all that is needed to use it, judge it and trace it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ai_workflow import json_text
from ai_workflow.config.settings import ConfigModel
from ai_workflow.datasets import fingerprint
from ai_workflow.evaluation import model_card
from ai_workflow.registry import publication
from ai_workflow.registry.registry import MANIFEST, Registry
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

log = logger("registry")


class Place(ConfigModel):
    """Where versions are published."""

    folder: str


@stage("registry")
def publish(
    store: Store, featured: dict[str, Any], trained: dict[str, Any], evaluated: dict[str, Any], place: Place
) -> dict[str, Any]:
    """Publish model, feature spec, card and golden rows as the next version, and return its name and manifest.

    Raises:
        StoreError: a file is damaged, or nothing can be written; then no version appears.
    """
    spec = read_spec(store, featured)
    files = {name: store.read(ref["path"], ref["sha256"]) for name, ref in evaluated["files"].items()}
    report = json.loads(files.pop("report.json"))
    registry = Registry(store, place.folder)
    model_file = trained["model"]["path"].rsplit("/", 1)[-1]
    files[model_file] = store.read(trained["model"]["path"], trained["model"]["sha256"])
    files["features.json"] = store.read(featured["spec"]["path"], featured["spec"]["sha256"])
    files["card.json"] = json_text.document(report)
    hashes = {name: ref["sha256"] for name, ref in evaluated["files"].items()}
    about = _about(spec, trained, report, model_file)
    version = publication.publish(
        registry,
        files,
        _schema(spec),
        about,
        lambda name: {"card.md": model_card.render(report, name).encode()},
        origin=fingerprint.of(hashes, trained["fingerprint"], featured["spec"]),
    )
    message = f"{version.name} published as latest"
    if about["beats_baseline"]:
        log.info(message)
    else:
        message += ", never as the first stable: it does not beat a constant answer"
        log.warning(message)
    path = f"{version.folder}/{MANIFEST}"
    manifest = hashlib.sha256(store.read(path)).hexdigest()
    return {
        "fingerprint": fingerprint.of(version.name, manifest),
        "version": version.name,
        "folder": version.folder,
        "trace_id": trace_context.current(),
        "message": message,
        "manifest": {"path": path, "sha256": manifest},
        "files": [version.file(name).to_json() for name in sorted(version.manifest["files"])],
    }


def _about(spec: dict[str, Any], trained: dict[str, Any], report: dict[str, Any], model_file: str) -> dict[str, Any]:
    """Return the entries of the manifest that describe the model."""
    return {
        "pipeline": spec["pipeline"],
        "task": spec["task"],
        "kind": trained["kind"],
        "model_file": model_file,
        "model": trained["fingerprint"],
        "data": report["data"],
        "scores": {name: report["scores"][name] for name in report["baseline"]},
        "baseline": report["baseline"],
        "beats_baseline": report["gate"]["beats_baseline"],
    }


def _schema(spec: dict[str, Any]) -> str:
    """Return the fingerprint of what a caller must send and what comes back: a change of it is a new major version."""
    asked = {feature["column"]: spec["schema"][feature["column"]]["type"] for feature in spec["features"]}
    return fingerprint.of(asked, spec["task"], spec["target"], spec["classes"])
