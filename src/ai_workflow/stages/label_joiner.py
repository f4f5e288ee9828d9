"""Joins labels to predictions whenever they arrive, keeps what it found, and says how good each version has been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Database
from ai_workflow.config.settings.evaluation import Evaluation
from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.datasets.spill import SpillPartitions
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.inference.stored_predictions import DEFAULT
from ai_workflow.quality import label_join, label_store, labels
from ai_workflow.quality.label_store import LabelStore
from ai_workflow.quality.performance import PerformanceWindow
from ai_workflow.runtime import cancellation
from ai_workflow.secret_values import Fetch
from ai_workflow.stage_names import stage
from ai_workflow.stages import data_loader
from ai_workflow.stages.label_intake import Intake, Labelling
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_DAY = 86_400
log = logger("label_joiner")


@stage("label_joiner")
def join(
    store: Store,
    asked: Labelling,
    moment: float,
    database: Database | None = None,
    fetch_secret: Fetch | None = None,
) -> dict[str, Any]:
    """Join all labels to all predictions, and return the standing of each version, and its latest predictions.

    What is in memory is a batch of rows, then what belongs together in one bucket of about `buckets.ROWS` rows.

    Args:
        store: where predictions and known labels are.
        asked: whose labels, and how they are judged.
        moment: now, in seconds since 1970; with the same moment the same comes out, however often it is done.
        database: the address of a SQL source without `url`.
        fetch_secret: gives the value of a named secret.

    Raises:
        StageError: the labels cannot be read as they are, said with file and row; or a setting is missing.
        StoreError: what is kept of earlier labels is damaged, or nothing can be written.
        TransientError: the source of the labels cannot be reached.
    """
    loaded = _loaded(store, asked.evaluation, database, fetch_secret)
    ledger = LabelStore(store, asked.pipeline)
    with ledger.locked(), ExitStack() as stack:
        days = asked.evaluation.label_days
        intake = Intake(store, asked, ledger, loaded, None if days is None else moment - days * _DAY, stack)
        intake.take()
        settled = _Settled(asked, moment, intake.latest, stack)
        for number in range(intake.told.count):
            cancellation.check()
            told, predicted = intake.told.read(number).to_pandas(), intake.predicted.read(number).to_pandas()
            settled.add(label_join.join(told, predicted, settled.now), is_all=ledger.is_scattered)
        made_of = fingerprint.of(ledger.names, loaded and loaded.fingerprint, intake.parts)
        fresh = settled.fresh()
        if fresh or ledger.segments:
            ledger.keep(made_of, fresh, is_all=ledger.is_scattered)
        latest = _latest(store, f"{label_store.FOLDER}/{asked.pipeline}/latest", intake, moment)
        result = settled.result(intake.rejects)
    return {**result, "latest": latest}


def _latest(store: Store, folder: str, intake: Intake, moment: float) -> dict[str, Any]:
    """Write down where the latest predictions of each version are, and let go of what was written a day before."""
    for name in store.names(folder):
        if int(name.partition("-")[0]) < (moment - _DAY) * 1000:
            store.remove(f"{folder}/{name}")
    found = {}
    for version in sorted(intake.latest.keys() - {DEFAULT}):
        path = f"{folder}/{round(moment * 1000)}-{version}.parquet"
        found[version] = asdict(partitions.write(store, path, intake.latest[version].table(), version))
    return found


def _loaded(store: Store, asked: Evaluation, database: Database | None, fetch: Fetch | None) -> Dataset | None:
    """Return the table of labels; None where there is none, or no label is in it yet."""
    if asked.source is None:
        return None
    try:
        found = data_loader.load(store, asked.source, data_loader.inspect(asked.source), database, fetch)
    except EmptySourceError as error:
        log.info("no label yet: %s", error.problem)
        return None
    return Dataset.load(store, found)


class _Settled:
    """What has been found bucket by bucket: the standing of each version, what is new, and what must be said."""

    def __init__(self, asked: Labelling, moment: float, versions: Iterable[str], stack: ExitStack) -> None:
        import pandas as pd

        self._asked, self._moment = asked, moment
        self.now = pd.Timestamp(round(moment * labels.MICROSECONDS), unit="us")
        self._standings: dict[str, PerformanceWindow] = {}
        for version in versions:
            self._standing(version)
        self._fresh = {
            kind: stack.enter_context(SpillPartitions(schema, 1))
            for kind, schema in (("labels", labels.schema()), ("matches", label_store.matches_schema()))
        }
        self._counts = Counter(dict.fromkeys(("waiting", "repeated", "contradicting", "new"), 0))
        self._contradicted: list[str] = []

    def add(self, found: label_join.JoinResult, *, is_all: bool) -> None:
        """Count what was joined, and take what is new, or all of it."""
        import pyarrow as pa

        if self._asked.is_number and self._asked.evaluation.tolerance is None and len(found.labeled):
            raise StageError(
                "evaluation.tolerance is not set, so no answer of a regression is right or wrong",
                "Set it to how far from its label an answer may be",
            )
        for version, rows in found.labeled.groupby("version"):
            self._standing(str(version)).add(rows)
        for kind, frame in (("labels", found.labels), ("matches", found.matches)):
            chosen = frame if is_all else _new(frame)
            if len(chosen):
                self._fresh[kind].add(pa.Table.from_pandas(chosen, preserve_index=False))
        self._counts.update(
            waiting=found.waiting,
            repeated=found.repeated,
            contradicting=len(found.contradicted),
            new=len(_new(found.matches)),
        )
        self._contradicted = [*self._contradicted, *found.contradicted][:1]

    def fresh(self) -> dict[str, Iterable[pa.Table]]:
        """Return what is to be kept, by its kind."""
        return {kind: bucket.tables(0) for kind, bucket in self._fresh.items() if bucket.rows}

    def _standing(self, version: str) -> PerformanceWindow:
        e = self._asked.evaluation
        if version not in self._standings:
            since = None if e.days is None else round((self._moment - e.days * _DAY) * labels.MICROSECONDS)
            self._standings[version] = PerformanceWindow(
                e.window, since, e.tolerance if self._asked.is_number else None
            )
        return self._standings[version]

    def result(self, rejects: labels.RejectCount) -> dict[str, Any]:
        """Return standings, counts and a message; `rejects` are labels that count for no prediction."""
        minimum = self._asked.evaluation.minimum
        standings = {name: one.describe(minimum, self._moment) for name, one in sorted(self._standings.items())}
        labeled = sum(each["labeled_total"] for each in standings.values())
        by_default = standings.pop(DEFAULT, {"labeled_total": 0})["labeled_total"]
        message = f"{labeled} predictions have a label, {self._counts['new']} of them new"
        for count, what in (
            (by_default, "of the default response"),
            (self._counts["contradicting"], "with labels that differ, the last of which counts"),
            (self._counts["waiting"], "labels without a prediction yet"),
            (rejects.count, "labels rejected"),
        ):
            message += f"; {count} {what}" if count else ""
        log.info(message)
        if self._contradicted:
            log.warning("labels differ, as those of %s; the last by time counts", self._contradicted[0])
        if rejects.count:
            log.warning("%d labels are rejected and count for no prediction; first: %s", rejects.count, rejects.first)
        counts = {**self._counts, "rejected": rejects.count}
        return {"standings": standings, "rows": labeled, **counts, "message": message}


def _new(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame[label_join.KEPT].astype(bool)]
