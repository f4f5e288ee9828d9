"""Scores rows with a published version, partition by partition, in a process that cannot take the run along."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from ai_workflow.config.settings import ConfigModel
from ai_workflow.config.settings.config_model import NOT_IN_KEY
from ai_workflow.datasets import fingerprint, parquet, partitions
from ai_workflow.datasets.partitions import ID, ROW, Dataset, Partition
from ai_workflow.errors import BrokenVersionError, StoreError
from ai_workflow.features import transform
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

log = logger("inference")


class Scoring(ConfigModel):
    """Which version answers, and how it is asked."""

    version: str
    folder: str
    batch_size: Annotated[int, NOT_IN_KEY]
    timeout: Annotated[float, NOT_IN_KEY]


@stage("inference")
def predict(store: Store, featured: dict[str, Any], scoring: Scoring) -> dict[str, Any]:
    """Score all rows: prediction_id, id, row, source, prediction, score, model_version, trace_id.

    `score` is the probability of the predicted class, or the predicted value itself. The id column under its own name
    and `probability_<class>` are stored as well, as `prediction_columns` has them. A prediction_id is the same whenever
    the same version answers for the same row of the same data, so that a label finds it.

    Raises:
        BrokenVersionError: the model crashes, hangs, answers nonsense, or is damaged.
        AiWorkflowError: there is no such version.
        StoreError: a partition is damaged.
    """
    registry = Registry(store, scoring.folder)
    spec, dataset = read_spec(store, featured), Dataset.load(store, featured)
    done: list[Partition] = []
    try:
        with registry.leased(scoring.version, "scoring") as version:
            data = read(registry, version, version.manifest["model_file"])
            with ModelProcess(version.name, version.manifest["kind"], data, scoring.timeout) as process:
                for number, part in enumerate(dataset.partitions, 1):
                    done.append(_score(store, part, spec, process, scoring))
                    progress.report(number, len(dataset.partitions), "partitions")
    except (memory_pressure.MemoryExhaustedError, MemoryError) as error:
        # Another version may be smaller.
        last = (
            error if isinstance(error, memory_pressure.MemoryExhaustedError) else memory_pressure.to_stage_error(error)
        )
        raise BrokenVersionError(last.problem, last.remedy) from error
    except ModelFailedError as error:
        raise BrokenVersionError(
            str(error),
            "Check it with `ai-workflow models verify`; on a slow machine raise model.timeout",
        ) from error
    result = Dataset("scored", tuple(done), {"model_version": version.name}).save(store)
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
            str(error), "`ai-workflow models verify` says what else is; publish another one"
        ) from error


def _score(store: Store, part: Partition, spec: dict[str, Any], process: ModelProcess, scoring: Scoring) -> Partition:
    code = fingerprint.code_version(__name__, *protocol.modules_of(process.kind))
    key = fingerprint.of("scored", code, part.sha256, scoring, trace_context.current())

    def answered(frame: pd.DataFrame) -> pa.Table:
        answers = _ask(process, frame, spec, scoring.batch_size)
        return parquet.to_table(_to_frame(frame, answers, spec, part, scoring))

    def compute(stem: str) -> dict[str, Any]:
        def scored(rows: int) -> Partition:
            tables = map(answered, partitions.slices(store, part, rows))
            return partitions.write(store, f"{stem}-00000.parquet", tables, part.source)

        return asdict(memory_pressure.with_smaller_batches(scored, part.rows))

    return Partition(**partitions.cached(store, "scored", key, compute))


def _ask(process: ModelProcess, frame: pd.DataFrame, spec: dict[str, Any], size: int) -> np.ndarray:
    import numpy as np

    x = frame[transform.names(spec)].to_numpy("float32")
    return np.concatenate([process.predict(x[start : start + size]) for start in range(0, len(x), size)])


def _to_frame(
    frame: pd.DataFrame, answers: np.ndarray, spec: dict[str, Any], part: Partition, scoring: Scoring
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    stem = fingerprint.of(scoring.version, part.sha256)
    columns: dict[str, Any] = {
        "prediction_id": [f"{stem}-{row}" for row in frame[ROW]],
        "id": frame[ID],
        **({own_id: frame[ID]} if (own_id := prediction_columns.of_id(spec["id"])) else {}),
        "row": frame[ROW],
        "source": part.source,
    }
    if spec["classes"] is None:
        columns |= {"prediction": answers, "score": answers}
    else:
        columns |= {
            "prediction": np.array(spec["classes"], dtype=object)[answers.argmax(axis=1)],
            "score": answers.max(axis=1),
            **dict(zip(prediction_columns.of_classes(spec["classes"]), answers.T.astype("float64"), strict=False)),
        }
    return pd.DataFrame({**columns, "model_version": scoring.version, "trace_id": trace_context.current()})
