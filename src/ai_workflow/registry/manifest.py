"""Types of a version's manifest."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from ai_workflow.config.settings import Metric

IN_CACHE_KEY = False


class ScoringRecord(TypedDict):
    """Options of metrics: class of precision, recall, f1 and average_precision; level of quantile_loss.

    `own` has a digest of the code of each metric of own code.
    """

    positive_class: str | None
    quantile: float | None
    own: NotRequired[dict[str, str]]


class ModelFacts(TypedDict):
    """Facts about the model that its publisher writes; `model` and `data` are fingerprints.

    `scoring` has the options of `scores`; versions of earlier releases do not have it.
    """

    pipeline: str
    task: str
    kind: str
    model_file: str
    model: str
    data: str
    scores: dict[Metric, float | None]
    scoring: NotRequired[ScoringRecord]
    baseline: dict[Metric, float | None]
    beats_baseline: bool


class ManifestFile(TypedDict):
    """Checksum and size of one file of a version."""

    sha256: str
    bytes: int


class Manifest(ModelFacts):
    """Content of `manifest.json`; `schema` is the fingerprint of inputs and outputs, `origin` that of the sources."""

    version: str
    schema: str
    published: str
    trace_id: str | None
    origin: NotRequired[str]
    files: dict[str, ManifestFile]
