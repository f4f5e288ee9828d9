"""A model version in memory: verified files, feature encoder, golden rows and the lease."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ai_workflow import json_text
from ai_workflow.datasets import fingerprint
from ai_workflow.features import cell_reader, worker_rows
from ai_workflow.features.row_encoder import Encoder
from ai_workflow.inference.model_file import sealed
from ai_workflow.inference.model_worker import ModelSource
from ai_workflow.inference.worker import FEW_VALUES
from ai_workflow.registry import golden_rows
from ai_workflow.registry.golden_rows import GoldenRows
from ai_workflow.registry.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec, Threshold

# Limit of output values of one batch, because they are validated on the event loop.
MAX_VALUES = 2_000_000
# Tolerance for rounding of probabilities at 0 and 1.
_ROUNDING = 1e-5


@dataclass(eq=False)
class LoadedModel:
    """A loaded model version; `close` releases its memory and its lease.

    Args:
        name: model_v<major>.<minor>.
        kind: its model family.
        model_fd: an open file with the model's bytes.
        encoder: encodes rows as features of the model.
        classes: its classes; None for a regression.
        golden: rows with their expected outputs.
        spec_fd: an open file with the feature spec, for the worker of a version with feature functions or calibrated
            probabilities.
        code_folders: the folders of own code for its process; None: those of the pipeline that was loaded last.
    """

    name: str
    kind: str
    model_fd: int
    encoder: Encoder
    classes: list[str] | None
    golden: GoldenRows
    spec_fd: int | None = None
    code_folders: tuple[str, ...] | None = None
    _resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def threshold(self) -> Threshold | None:
        """The threshold of the predicted class; None for the most probable class."""
        return self.golden.spec.get("threshold")

    @property
    def has_functions(self) -> bool:
        """Whether features are computed by functions of the columns."""
        return worker_rows.is_used(self.golden.spec)

    @property
    def feature_count(self) -> int:
        """Number of float32 that the process of the model gets for a row."""
        return self.encoder.width

    @property
    def source(self) -> ModelSource:
        """What the process of the model loads."""
        return ModelSource(self.kind, self.model_fd, self.feature_count, self.spec_fd, self.code_folders)

    @property
    def output_count(self) -> int:
        """Number of outputs for a row."""
        return len(self.classes) if self.classes else 1

    @property
    def encoding_id(self) -> str:
        """Fingerprint that versions with the same encoding of rows share."""
        return self.encoder.fingerprint

    def is_valid_output(self, values: Sequence[float]) -> bool:
        """Return whether outputs are finite, and probabilities if the model has classes."""
        if len(values) > FEW_VALUES:
            low, high = _range(values)
            is_finite = math.isfinite(low) and math.isfinite(high)
        else:
            is_finite = math.isfinite(sum(values))
            low, high = (min(values), max(values)) if self.classes is not None else (0.0, 0.0)
        return is_finite and (self.classes is None or (low >= -_ROUNDING and high <= 1 + _ROUNDING))

    @property
    def probe_rows(self) -> np.ndarray:
        """Rows for health probes, float32 (rows, features): the golden rows, else one row of missing values."""
        import numpy as np

        return self.golden.x if len(self.golden.x) else np.full((1, self.feature_count), np.nan, dtype=np.float32)

    def golden_mismatch(self, outputs: Sequence[float], row: int | None = None) -> str | None:
        """Return how outputs differ from the expected ones; None if they match or the version has no golden rows.

        Args:
            outputs: outputs for all probe rows, or for one of them.
            row: the index of that row.
        """
        expected = self.golden
        if not len(expected.x):
            return None
        if row is not None:
            expected = replace(expected, x=expected.x[row : row + 1], answers=expected.answers[row : row + 1])
        mismatches = expected.mismatches(outputs)
        return f"other output for golden row {(row or 0) + mismatches[0]} than expected" if mismatches else None

    def close(self) -> None:
        """Release the memory and the lease."""
        self._resources.close()


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """Return minimum and maximum of many numbers; NaN if there is a NaN."""
    import numpy as np

    values = np.asarray(numbers, dtype=np.float64)
    return float(values.min()), float(values.max())


def load(registry: Registry, name: str) -> LoadedModel:
    """Read a version by its name or an alias, and hold a lease on it; blocks on the store.

    Raises:
        AiWorkflowError: the version does not exist, or one of its files is missing or damaged.
        KeyError, TypeError, ValueError: a file has another form than the publisher writes.
    """
    with contextlib.ExitStack() as resources:
        version = resources.enter_context(registry.leased(name, "service"))
        golden = golden_rows.read(registry, version, worker_rows.to_worker)
        spec = golden.spec
        model_fd = sealed(version.name, registry.read(version, version.manifest["model_file"]))
        resources.callback(os.close, model_fd)
        spec_fd = None
        if worker_rows.is_used(spec) or spec.get("calibration"):
            spec_fd = sealed(f"{version.name} features", json_text.line(spec).encode())
            resources.callback(os.close, spec_fd)
        return LoadedModel(
            name=version.name,
            kind=version.manifest["kind"],
            model_fd=model_fd,
            encoder=Encoder(spec, _encoding_id(spec)),
            classes=spec["classes"],
            golden=golden,
            spec_fd=spec_fd,
            _resources=resources.pop_all(),
        )


def _encoding_id(spec: FeatureSpec) -> str:
    """Return a fingerprint that versions share if they encode the same rows as the same features."""
    return fingerprint.of(
        spec["features"],
        spec["schema"],
        spec["classes"],
        spec.get("cells") or {},
        cell_reader.known(spec),
        spec.get("derived") or [],
    )
