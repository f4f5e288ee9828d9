"""Inputs of the label join: labels and predictions, hash-partitioned by key for an out-of-core join."""

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

    from ai_workflow.features.spec import FeatureSpec

log = logger("label_joiner")


class LabelJoinerOptions(ConfigModel):
    """The pipeline whose labels are joined, and how they are read and evaluated.

    With `by_row`, a label names the id of a row and not the id of a prediction.
    """

    pipeline: str
    is_number: bool
    by_row: bool
    evaluation: Evaluation
    # Folder of the versions whose specs define how labels are read; if empty, a label is read as text.
    models: str = ""

    @classmethod
    def of(cls, settings: Settings) -> LabelJoinerOptions:
        """Return the options of the settings."""
        return cls(
            pipeline=settings.pipeline,
            is_number=settings.task == "regression",
            by_row=settings.evaluation.id == settings.id,
            evaluation=settings.evaluation,
            models=settings.models,
        )


class JoinInputs:
    """Labels and predictions of one pipeline in buckets, by prediction_id.

    Args:
        store: has the predictions.
        options: the pipeline and its settings.
        label_store: labels and matches of earlier joins.
        loaded: the table of labels, if there is one.
        since: files of predictions that were written before this timestamp are not read; None: all are read.
        stack: closes the buckets.
    """

    def __init__(
        self,
        store: Store,
        options: LabelJoinerOptions,
        label_store: LabelStore,
        loaded: Dataset | None,
        since: float | None,
        stack: ExitStack,
    ) -> None:
        self._store = store
        self._options = options
        self._label_store = label_store
        self._loaded = loaded
        self._predictions = StoredPredictions(store, options.pipeline)
        self.parts = list(self._predictions.parts(since))
        label_rows = label_store.rows + (loaded.rows if loaded else 0)
        count = partition_count(max(label_rows, sum(part["rows"] for _, part in self.parts)))
        self.labels = stack.enter_context(SpillPartitions(label_join.label_schema(), count))
        self.predictions = stack.enter_context(SpillPartitions(label_join.match_schema(), count))
        # Labels by row id, and the prediction ids of these rows.
        self._row_labels = stack.enter_context(SpillPartitions(label_join.label_schema(), count))
        self._row_keys = stack.enter_context(SpillPartitions(_row_schema(), count))
        # Filters of the predictions that may have a label.
        self._key_filter = BloomFilter()
        self._row_filter = BloomFilter()
        self._reader = _reader(store, options)
        self.rejects = labels.RejectCount()
        drift_rows = options.evaluation.drift_rows
        self.recent = {version: RecentPredictions(drift_rows) for version, _ in self.parts}

    def read(self) -> None:
        """Read all labels, then the predictions that may have one of them.

        Raises:
            StageError: a label cannot be read (the text names file and row), or the disk for temporary files is full.
            StoreError: the stored labels are damaged.
        """
        for table in self._label_store.labels():
            self._add_labels(self._readable(table), is_kept=True)
        for table in self._label_store.sent():
            self._add_labels(self._readable(table))
        self._read_source()
        for table in self._label_store.matches():
            self.predictions.add(_with_columns(table, kept=True))
        for number, (version, part) in enumerate(self.parts, 1):
            cancellation.check()
            for batch in self._predictions.batches(version, part):
                self._add_predictions(batch)
            progress.report(number, len(self.parts), "files of predictions")
        if self._options.by_row:
            self._expand_row_labels()

    def _readable(self, table: pa.Table) -> pa.Table:
        """Return the labels that the current versions can read; count the others as rejected."""
        import pyarrow as pa

        if self._options.is_number:
            return table
        keys = table["key"]
        read, rejects = labels.read_all(table["label"].to_pandas(), self._reader, lambda row: f"prediction {keys[row]}")
        self.rejects += rejects
        texts = pa.array(read.where(read.notna(), None), pa.string())
        return table.set_column(table.schema.get_field_index("label"), "label", texts).filter(texts.is_valid())

    def _read_source(self) -> None:
        buckets, keys = self.labels, self._key_filter
        if self._options.by_row:
            buckets, keys = self._row_labels, self._row_filter
        start = 0
        for table in self._source_tables():
            self._add_labels(table, start=start, buckets=buckets, keys=keys)
            start += table.num_rows

    def _source_tables(self) -> Iterator[pa.Table]:
        if self._loaded is None:
            return
        e = self._options.evaluation
        columns = labels.LabelColumns(e.id, e.label, e.time, self._options.is_number)
        present = [column["name"] for column in self._loaded.info["columns"]]
        columns.check(present, self._loaded.partitions[0].source)
        own = dict.fromkeys(name for name in (e.id, e.label, e.time) if name is not None)
        names = [partitions.ROW, partitions.SOURCE, *own]
        for part, frame in partitions.frames(self._store, self._loaded, names, BATCH):
            table, rejects = labels.of_frame(frame, columns, part.source, self._reader)
            self.rejects += rejects
            yield table

    def _add_labels(
        self, table: pa.Table, *, is_kept: bool = False, start: int = 0, buckets: SpillPartitions | None = None,
        keys: BloomFilter | None = None,
    ) -> None:  # fmt: skip
        hashed = hash_keys(table["key"])
        (keys or self._key_filter).add(hashed)
        order = range(start, start + table.num_rows)
        (buckets or self.labels).add(_with_columns(table, kept=is_kept, order=order), hashed)

    def _add_predictions(self, batch: Batch) -> None:
        hashed = hash_keys(batch.table["key"])
        self.recent[batch.version].add(batch.table, hashed, batch.path, batch.start)
        may_match = self._key_filter.may_contain(hashed)
        if self._options.by_row:
            hashed_rows = hash_keys(batch.table["id"].fill_null(""))
            by_row = self._row_filter.may_contain(hashed_rows)
            self._row_keys.add(batch.table.select(["id", "key"]).filter(by_row), hashed_rows[by_row])
            may_match |= by_row
        self.predictions.add(_with_columns(batch.table.filter(may_match), kept=False), hashed[may_match])

    def _expand_row_labels(self) -> None:
        """Replace each label of a row by labels of all predictions of this row."""
        import pyarrow as pa

        for number in range(self._row_labels.count):
            row_labels = self._row_labels.read(number).to_pandas().rename(columns={"key": "id"})
            row_keys = self._row_keys.read(number).to_pandas()
            expanded = row_labels.merge(row_keys, on="id").sort_values(label_join.ORDER)
            self.labels.add(pa.Table.from_pandas(expanded, preserve_index=False))


def _reader(store: Store, options: LabelJoinerOptions) -> LabelReader:
    """Return the label reader of all published versions, the newest first."""
    registry = Registry(store, options.models)
    specs: list[FeatureSpec] = []
    for name in reversed(registry.versions()) if options.models else ():
        try:
            specs.append(json.loads(registry.read(registry.get(name), "features.json")))
        except (AiWorkflowError, ValueError) as error:
            log.warning("labels are read without the classes of %s: %s", name, error)
    return LabelReader(specs, is_number=options.is_number)


def _row_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("id", pa.string()), ("key", pa.string())])


def _with_columns(table: pa.Table, **columns: Any) -> pa.Table:
    """Return a table with added columns, each a constant or a sequence with a value for each row."""
    import pyarrow as pa

    for name, value in columns.items():
        is_constant = isinstance(value, bool)
        values = pa.repeat(pa.scalar(value), table.num_rows) if is_constant else pa.array(value, pa.int64())
        table = table.append_column(name, values)
    return table
