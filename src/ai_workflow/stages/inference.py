"""Batch inference: score rows with a published version, in a model process whose crash does not end the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from ai_workflow.config.settings import ConfigModel
from ai_workflow.config.settings.config_model import NOT_IN_KEY
from ai_workflow.datasets import fingerprint, parquet, partition_cache, partitions
from ai_workflow.datasets.partitions import ID, ROW, SOURCE, Dataset, DatasetRecord, Partition, PartitionRecord
from ai_workflow.errors import BrokenVersionError, StoreError
from ai_workflow.features import calibration, transform
from ai_workflow.features.decision import predicted_classes
from ai_workflow.inference import prediction_columns
from ai_workflow.inference.model_process import ModelFailedError, ModelProcess
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.feature_engineering import FeatureData

log = logger("inference")


class InferenceOptions(ConfigModel):
    """The version that predicts, its batch size and its timeout."""

    version: str
    folder: str
    batch_size: Annotated[int, NOT_IN_KEY]
    timeout: Annotated[float, NOT_IN_KEY]


class ScoredData(DatasetRecord):
    """Result of `predict`: the predictions and the version that made them."""

    version: str
    message: str


@stage("inference")
def predict(store: Store, featured: FeatureData, options: InferenceOptions) -> ScoredData:
    """Score all rows: prediction_id, id, row, source, prediction, score, model_version, trace_id.

    `score` is the probability of the predicted class, or the predicted value itself. The id column under its own name
    and `probability_<class>` are stored as well, as `prediction_columns` names them. The prediction_id is a function of
    version, data and row, so that labels can be joined to repeated runs.

    Raises:
        BrokenVersionError: the model crashes, hangs, returns invalid output, or is damaged.
        AiWorkflowError: there is no such version.
        StoreError: a partition is damaged.
    """
    registry = Registry(store, options.folder)
    spec = read_spec(store, featured)
    dataset = Dataset.load(store, featured)
    scored: list[Partition] = []
    try:
        with registry.leased(options.version, "scoring") as version:
            data = read(registry, version, version.manifest["model_file"])
            calibrator = calibration.of(spec)
            with ModelProcess(version.name, version.manifest["kind"], data, options.timeout, calibrator) as process:
                for number, part in enumerate(dataset.partitions, 1):
                    scored.append(_score(store, part, spec, process, options))
                    progress.report(number, len(dataset.partitions), "partitions")
    except (memory_pressure.MemoryExhaustedError, MemoryError) as error:
        # A fallback version may need less memory.
        exhausted = (
            error if isinstance(error, memory_pressure.MemoryExhaustedError) else memory_pressure.to_stage_error(error)
        )
        raise BrokenVersionError(exhausted.problem, exhausted.remedy) from error
    except ModelFailedError as error:
        raise BrokenVersionError(
            str(error),
            "Check it with `ai-workflow models verify`; on a slow machine raise model.timeout",
        ) from error
    result = Dataset("scored", tuple(scored), {"model_version": version.name}).save(store)
    message = f"{result['rows']} rows scored by {version.name}"
    log.info(message)
    return {**result, "version": version.name, "message": message}


def read(registry: Registry, version: Version, name: str) -> bytes:
    """Return a file of a version.

    Raises:
        BrokenVersionError: it is missing or damaged.
    """
    try:
        return registry.read(version, name)
    except StoreError as error:
        raise BrokenVersionError(
            str(error), "List all damaged files with `ai-workflow models verify`, or publish another version"
        ) from error


def _score(
    store: Store, part: Partition, spec: FeatureSpec, process: ModelProcess, options: InferenceOptions
) -> Partition:
    code = fingerprint.code_version(__name__, *protocol.modules_of(process.kind))
    key = fingerprint.of("scored", code, part.sha256, options, trace_context.current())

    def to_table(frame: pd.DataFrame) -> pa.Table:
        output = _predict_batches(process, frame, spec, options.batch_size)
        return parquet.to_table(_to_frame(frame, output, spec, part, options))

    def compute(stem: str) -> PartitionRecord:
        def write(rows: int) -> Partition:
            tables = map(to_table, partitions.slices(store, part, rows))
            return partitions.write(store, f"{stem}-00000.parquet", tables, part.source)

        return memory_pressure.with_smaller_batches(write, part.rows).to_json()

    return Partition(**partition_cache.cached(store, "scored", key, compute))


def _predict_batches(process: ModelProcess, frame: pd.DataFrame, spec: FeatureSpec, batch_size: int) -> np.ndarray:
    import numpy as np

    x = frame[transform.names(spec)].to_numpy("float32")
    return np.concatenate([process.predict(x[start : start + batch_size]) for start in range(0, len(x), batch_size)])


def _prediction_ids(frame: pd.DataFrame, part: Partition, options: InferenceOptions) -> list[str]:
    """Return an ID for each row, from version, partition, file and row number."""
    if SOURCE not in frame:
        stem = fingerprint.of(options.version, part.sha256)
        return [f"{stem}-{row}" for row in frame[ROW]]
    files = partitions.row_sources(frame, part.source)
    stems = {file: fingerprint.of(options.version, part.sha256, file) for file in files.unique()}
    return [f"{stems[file]}-{row}" for file, row in zip(files, frame[ROW], strict=True)]


def _to_frame(
    frame: pd.DataFrame, output: np.ndarray, spec: FeatureSpec, part: Partition, options: InferenceOptions
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {
        "prediction_id": _prediction_ids(frame, part, options),
        "id": frame[ID],
        **({own_id: frame[ID]} if (own_id := prediction_columns.of_id(spec["id"])) else {}),
        "row": frame[ROW],
        "source": partitions.row_sources(frame, part.source),
    }
    if spec["classes"] is None:
        columns |= {"prediction": output, "score": output}
    else:
        predicted = predicted_classes(output, spec.get("threshold"))
        columns |= {
            "prediction": np.array(spec["classes"], dtype=object)[predicted],
            "score": output[np.arange(len(output)), predicted],
            **dict(zip(prediction_columns.of_classes(spec["classes"]), output.T.astype("float64"), strict=False)),
        }
    return pd.DataFrame({**columns, "model_version": options.version, "trace_id": trace_context.current()})
