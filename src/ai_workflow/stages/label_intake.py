"""Parts labels and predictions so that those that belong together come to lie together, whatever holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import ConfigModel, Settings
from ai_workflow.config.settings.evaluation import Evaluation
from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.datasets.spill import BloomFilter, SpillPartitions, hash_keys, partition_count
from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.stored_predictions import BATCH, Batch, StoredPredictions
from ai_workflow.quality import label_join, labels
from ai_workflow.quality.label_reader import LabelReader
from ai_workflow.quality.label_store import LabelStore
from ai_workflow.quality.recent_predictions import RecentPredictions
from ai_workflow.registry.registry import Registry
from ai_workflow.runtime import cancellation, progress
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa


log = logger("label_joiner")


class Labelling(ConfigModel):
    """Whose labels are joined, and how they are judged; `by_row`: a label names its row, not its prediction."""

    pipeline: str
    is_number: bool
    by_row: bool
    evaluation: Evaluation
    # Where versions are, whose rules labels are read by; empty: labels are text as it stands.
    models: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Labelling:
        """Return what the settings say."""
        return cls(
            pipeline=settings.pipeline,
            is_number=settings.task == "regression",
            by_row=settings.evaluation.id == settings.id,
            evaluation=settings.evaluation,
            models=settings.models,
        )


class Intake:
    """Labels and predictions of one pipeline in buckets, by prediction_id.

    Args:
        store: where predictions are.
        asked: whose labels.
        ledger: what is known already.
        loaded: the table of labels, if there is one.
        since: files of predictions that were written before then are left closed; None: none is.
        stack: closes the buckets.
    """

    def __init__(
        self,
        store: Store,
        asked: Labelling,
        ledger: LabelStore,
        loaded: Dataset | None,
        since: float | None,
        stack: ExitStack,
    ) -> None:
        self._store, self._asked, self._ledger, self._loaded = store, asked, ledger, loaded
        self._predictions = StoredPredictions(store, asked.pipeline)
        self.parts = list(self._predictions.parts(since))
        rows = max(ledger.rows + (loaded.rows if loaded else 0), sum(part["rows"] for _, part in self.parts))
        schemas = label_join.label_schema(), label_join.match_schema(), label_join.label_schema(), _row_schema()
        made = (stack.enter_context(SpillPartitions(schema, partition_count(rows))) for schema in schemas)
        self.told, self.predicted, self._by_row, self._rows = made
        self._marks, self._row_marks = BloomFilter(), BloomFilter()
        self._reader = _reader(store, asked)
        self.rejects = labels.RejectCount()
        self.latest: dict[str, RecentPredictions] = {
            version: RecentPredictions(asked.evaluation.drift_rows) for version, _ in self.parts
        }

    def take(self) -> None:
        """Take all labels, then the predictions that they may be of.

        Raises:
            StageError: a label cannot be read, said with file and row; or the disk for temporary files is full.
            StoreError: what is kept of earlier labels is damaged.
        """
        for table in self._ledger.labels():
            self._tell(self._known(table), is_kept=True)
        for table in self._ledger.sent():
            self._tell(self._known(table))
        into, marks = (self._by_row, self._row_marks) if self._asked.by_row else (self.told, self._marks)
        start = 0
        for table in self._from_source():
            self._tell(table, start=start, into=into, marks=marks)
            start += table.num_rows
        for table in self._ledger.matches():
            self.predicted.add(_with(table, kept=True))
        for number, (version, part) in enumerate(self.parts, 1):
            cancellation.check()
            for batch in self._predictions.batches(version, part):
                self._take_predictions(batch)
            progress.report(number, len(self.parts), "files of predictions")
        if self._asked.by_row:
            self._translate()

    def _known(self, table: pa.Table) -> pa.Table:
        """Return the labels that are read as they are by the rules of today's versions; others are rejected."""
        import pyarrow as pa

        if self._asked.is_number:
            return table
        keys = table["key"]
        read, rejects = labels.read_all(
            table["label"].to_pandas(), self._reader, lambda place: f"prediction {keys[place]}"
        )
        self.rejects += rejects
        place = table.schema.get_field_index("label")
        texts = pa.array(read.where(read.notna(), None), pa.string())
        return table.set_column(place, "label", texts).filter(texts.is_valid())

    def _from_source(self) -> Iterator[pa.Table]:
        if self._loaded is None:
            return
        e = self._asked.evaluation
        columns = labels.LabelColumns(e.id, e.label, e.time, self._asked.is_number)
        columns.check([each["name"] for each in self._loaded.info["columns"]], self._loaded.partitions[0].source)
        names = [partitions.ROW, *dict.fromkeys(name for name in (e.id, e.label, e.time) if name is not None)]
        for part, frame in partitions.frames(self._store, self._loaded, names, BATCH):
            table, rejects = labels.of_frame(frame, columns, part.source, self._reader)
            self.rejects += rejects
            yield table

    def _tell(
        self, table: pa.Table, *, is_kept: bool = False, start: int = 0, into: SpillPartitions | None = None,
        marks: BloomFilter | None = None,
    ) -> None:  # fmt: skip
        hashed = hash_keys(table["key"])
        (marks or self._marks).add(hashed)
        order = range(start, start + table.num_rows)
        (into or self.told).add(_with(table, kept=is_kept, order=order), hashed)

    def _take_predictions(self, batch: Batch) -> None:
        hashed = hash_keys(batch.table["key"])
        self.latest[batch.version].add(batch.table, hashed, batch.path, batch.start)
        wanted = self._marks.may_hold(hashed)
        if self._asked.by_row:
            of_rows = hash_keys(batch.table["id"].fill_null(""))
            by_row = self._row_marks.may_hold(of_rows)
            self._rows.add(batch.table.select(["id", "key"]).filter(by_row), of_rows[by_row])
            wanted |= by_row
        self.predicted.add(_with(batch.table.filter(wanted), kept=False), hashed[wanted])

    def _translate(self) -> None:
        """Make of each label of a row the labels of all predictions of that row."""
        import pyarrow as pa

        for number in range(self._by_row.count):
            told, rows = self._by_row.read(number).to_pandas(), self._rows.read(number).to_pandas()
            found = told.rename(columns={"key": "id"}).merge(rows, on="id").sort_values(label_join.ORDER)
            self.told.add(pa.Table.from_pandas(found, preserve_index=False))


def _reader(store: Store, asked: Labelling) -> LabelReader:
    """Return the reader of labels by all versions that are published, the newest first."""
    registry, specs = Registry(store, asked.models), []
    for name in reversed(registry.versions()) if asked.models else ():
        try:
            specs.append(json.loads(registry.read(registry.get(name), "features.json")))
        except (AiWorkflowError, ValueError) as error:
            log.warning("labels are read without the classes of %s: %s", name, error)
    return LabelReader(specs, is_number=asked.is_number)


def _row_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("id", pa.string()), ("key", pa.string())])


def _with(table: pa.Table, **columns: Any) -> pa.Table:
    """Return a table with more columns, each one value or as many as there are rows."""
    import pyarrow as pa

    for name, value in columns.items():
        is_one = isinstance(value, bool)
        values = pa.repeat(pa.scalar(value), table.num_rows) if is_one else pa.array(value, pa.int64())
        table = table.append_column(name, values)
    return table
