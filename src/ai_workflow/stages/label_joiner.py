"""Label join stage: join labels to predictions, store the matches, and compute the performance of each version."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.config.settings import Database
from ai_workflow.config.settings.evaluation import Evaluation
from ai_workflow.datasets import absent_columns, fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset, PartitionRecord
from ai_workflow.datasets.spill import SpillPartitions
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.inference.stored_predictions import DEFAULT
from ai_workflow.quality import label_join, label_store, labels
from ai_workflow.quality.label_store import LabelStore
from ai_workflow.quality.performance import PerformanceWindow, VersionPerformance
from ai_workflow.runtime import cancellation
from ai_workflow.secret_values import Fetch
from ai_workflow.stage_names import stage
from ai_workflow.stages import data_loader
from ai_workflow.stages.label_intake import JoinInputs, LabelJoinerOptions
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_DAY_SECONDS = 86_400
log = logger("label_joiner")


class JoinSummary(TypedDict):
    """Performance of each version, and counts: `rows` predictions have a label."""

    standings: dict[str, VersionPerformance]
    rows: int
    waiting: int
    repeated: int
    contradicting: int
    new: int
    rejected: int
    message: str


class LabelJoinResult(JoinSummary):
    """Result of `join`; `latest` refers to the recent predictions of each version, the input of drift detection."""

    latest: dict[str, PartitionRecord]


@stage("label_joiner")
def join(
    store: Store,
    options: LabelJoinerOptions,
    moment: float,
    database: Database | None = None,
    fetch_secret: Fetch | None = None,
) -> LabelJoinResult:
    """Join all labels to all predictions.

    Memory holds one batch of rows, or one bucket of about `spill.MAX_ROWS_IN_MEMORY` rows.

    Args:
        store: has the predictions and the stored labels.
        options: the pipeline, and how its labels are evaluated.
        moment: the current Unix timestamp; a repeated join with the same timestamp gives the same result.
        database: the address of a SQL source without `url`.
        fetch_secret: returns the value of a named secret.

    Raises:
        StageError: a label cannot be read (the text names file and row), or a setting is missing.
        StoreError: the stored labels are damaged, or a file cannot be written.
        TransientError: the source of the labels cannot be reached.
    """
    loaded = _load_labels(store, options.evaluation, database, fetch_secret)
    ledger = LabelStore(store, options.pipeline)
    with ledger.locked(), ExitStack() as stack:
        days = options.evaluation.label_days
        since = None if days is None else moment - days * _DAY_SECONDS
        inputs = JoinInputs(store, options, ledger, loaded, since, stack)
        inputs.read()
        outcome = _JoinOutcome(options, moment, inputs.recent, stack)
        for number in range(inputs.labels.count):
            cancellation.check()
            bucket_labels = inputs.labels.read(number).to_pandas()
            bucket_predictions = inputs.predictions.read(number).to_pandas()
            joined = label_join.join(bucket_labels, bucket_predictions, outcome.now)
            outcome.add(joined, is_all=ledger.is_scattered)
        key = fingerprint.of(ledger.names, loaded and loaded.fingerprint, inputs.parts)
        tables = outcome.tables()
        if tables or ledger.segments:
            ledger.keep(key, tables, is_all=ledger.is_scattered)
        latest = _write_recent(store, f"{label_store.FOLDER}/{options.pipeline}/latest", inputs, moment)
        summary = outcome.summary(inputs.rejects)
    return {**summary, "latest": latest}


def _write_recent(store: Store, folder: str, inputs: JoinInputs, moment: float) -> dict[str, PartitionRecord]:
    """Write the recent predictions of each version, and delete files that are older than a day."""
    for name in store.names(folder):
        if int(name.partition("-")[0]) < (moment - _DAY_SECONDS) * 1000:
            store.remove(f"{folder}/{name}")
    records = {}
    for version in sorted(inputs.recent.keys() - {DEFAULT}):
        path = f"{folder}/{round(moment * 1000)}-{version}.parquet"
        records[version] = partitions.write(store, path, inputs.recent[version].table(), version).to_json()
    return records


def _load_labels(
    store: Store, evaluation: Evaluation, database: Database | None, fetch: Fetch | None
) -> Dataset | None:
    """Return the table of labels; None if there is no source, or it has no rows yet."""
    if evaluation.source is None:
        return None
    try:
        inputs = data_loader.inspect(evaluation.source)
        loaded = data_loader.load(store, evaluation.source, inputs, database, fetch)
    except EmptySourceError as error:
        log.info("no label yet: %s", error.problem)
        return None
    dataset = Dataset.load(store, loaded)
    required = [name for name in (evaluation.id, evaluation.label, evaluation.time) if name]
    absent_columns.check(dataset.info.get("absent", {}), {}, required, is_closed=True)
    return dataset


class _JoinOutcome:
    """Results of the join, added bucket by bucket: performance of each version, new rows and counts."""

    def __init__(self, options: LabelJoinerOptions, moment: float, versions: Iterable[str], stack: ExitStack) -> None:
        import pandas as pd

        self._options = options
        self._moment = moment
        self.now = pd.Timestamp(round(moment * labels.MICROSECONDS), unit="us")
        self._windows: dict[str, PerformanceWindow] = {}
        for version in versions:
            self._window(version)
        self._new_rows = {
            kind: stack.enter_context(SpillPartitions(schema, 1))
            for kind, schema in (("labels", labels.schema()), ("matches", label_store.matches_schema()))
        }
        self._waiting = self._repeated = self._contradicting = self._new = 0
        self._contradicted: list[str] = []

    def add(self, joined: label_join.JoinedLabels, *, is_all: bool) -> None:
        """Count the rows of one bucket, and collect its new rows, or all rows with `is_all`.

        Raises:
            StageError: the task is a regression, and `evaluation.tolerance` is not set.
        """
        import pyarrow as pa

        if self._options.is_number and self._options.evaluation.tolerance is None and len(joined.labeled):
            raise StageError(
                "evaluation.tolerance is not set, so no prediction of a regression is right or wrong",
                "Set it to the largest difference from the label that counts as right",
            )
        for version, rows in joined.labeled.groupby("version"):
            self._window(str(version)).add(rows)
        for kind, frame in (("labels", joined.labels), ("matches", joined.matches)):
            chosen = frame if is_all else _without_kept(frame)
            if len(chosen):
                self._new_rows[kind].add(pa.Table.from_pandas(chosen, preserve_index=False))
        self._waiting += joined.waiting
        self._repeated += joined.repeated
        self._contradicting += len(joined.contradicted)
        self._new += len(_without_kept(joined.matches))
        self._contradicted = [*self._contradicted, *joined.contradicted][:1]

    def tables(self) -> dict[str, Iterable[pa.Table]]:
        """Return the collected rows by kind."""
        return {kind: bucket.tables(0) for kind, bucket in self._new_rows.items() if bucket.rows}

    def _window(self, version: str) -> PerformanceWindow:
        e = self._options.evaluation
        if version not in self._windows:
            since = None if e.days is None else round((self._moment - e.days * _DAY_SECONDS) * labels.MICROSECONDS)
            tolerance = e.tolerance if self._options.is_number else None
            self._windows[version] = PerformanceWindow(e.window, since, tolerance)
        return self._windows[version]

    def summary(self, rejects: labels.RejectCount) -> JoinSummary:
        """Return performance, counts and a message, and log the message; `rejects` match no prediction."""
        minimum = self._options.evaluation.minimum
        standings = {name: window.describe(minimum, self._moment) for name, window in sorted(self._windows.items())}
        labeled = sum(performance["labeled_total"] for performance in standings.values())
        default = standings.pop(DEFAULT, None)
        message = f"{labeled} predictions have a label, {self._new} of them new"
        for count, text in (
            (default["labeled_total"] if default else 0, "of the default response"),
            (self._contradicting, "with labels that differ, the last of which counts"),
            (self._waiting, "labels without a prediction yet"),
            (rejects.count, "labels rejected"),
        ):
            message += f"; {count} {text}" if count else ""
        log.info(message)
        if self._contradicted:
            log.warning("labels differ, as those of %s; the last by time counts", self._contradicted[0])
        if rejects.count:
            log.warning("%d labels are rejected and count for no prediction; first: %s", rejects.count, rejects.first)
        return {
            "standings": standings,
            "rows": labeled,
            "waiting": self._waiting,
            "repeated": self._repeated,
            "contradicting": self._contradicting,
            "new": self._new,
            "rejected": rejects.count,
            "message": message,
        }


def _without_kept(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the label store does not have yet."""
    return frame[~frame[label_join.KEPT].astype(bool)]
