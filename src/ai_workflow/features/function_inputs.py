"""Input of feature functions: clean columns in 8 bytes each, so that it is equal in training, scoring and the service.

A function gets float64 for `number` and `integer`, `boolean` (nullable) for `boolean`, `str` for `category`, and
datetime64[us] for `datetime`. A category value that is not in the training data is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_workflow.features import cell_reader, transform

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.features.spec import FeatureSpec

_EMPTY = -1


class FunctionInputs:
    """Encoder and decoder of the input columns of a feature spec."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.names = transform.input_columns(spec)
        self._types = {name: spec["schema"][name]["type"] for name in self.names}
        columns = cell_reader.CellReader(spec).columns
        self._is_nullable = {name: column.nullable and column.fill is None for name, column in columns.items()}
        known = cell_reader.known(spec)
        self._categories = {name: sorted(known[name]) for name in self.names if self._types[name] == "category"}

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return int64 (n, inputs) of clean rows: the bits of a float, an index, or microseconds since 1970."""
        import numpy as np

        values = np.empty((len(frame), len(self.names)), dtype=np.int64)
        for position, name in enumerate(self.names):
            values[:, position] = self._bits(name, frame[name])
        return values

    def without_values(self, row: np.ndarray) -> np.ndarray:
        """Return a row, int64 (1, inputs), in which each value is missing that may be missing in a request."""
        import numpy as np

        missing = {"category": _EMPTY, "datetime": np.iinfo(np.int64).min}
        nan = int(np.array(np.nan).view(np.int64))
        values = row.copy().reshape(1, -1)
        for position, name in enumerate(self.names):
            if self._is_nullable[name]:
                values[0, position] = missing.get(self._types[name], nan)
        return values

    def decode(self, values: np.ndarray) -> pd.DataFrame:
        """Return the rows as feature functions get them."""
        import pandas as pd

        return pd.DataFrame({name: self._column(name, values[:, place]) for place, name in enumerate(self.names)})

    def _bits(self, name: str, values: pd.Series) -> np.ndarray:
        import numpy as np

        kind = self._types[name]
        if kind == "category":
            index = {value: position for position, value in enumerate(self._categories[name])}
            codes = values.astype(object).map(index).to_numpy(dtype="float64", na_value=np.nan)
            return np.where(np.isnan(codes), _EMPTY, codes).astype(np.int64)
        if kind == "datetime":
            return values.to_numpy().astype("datetime64[us]").view(np.int64)
        numbers: np.ndarray = values.to_numpy(dtype="float64", na_value=np.nan)
        # All missing values have the same bits.
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.int64)

    def _column(self, name: str, bits: np.ndarray) -> Any:
        import numpy as np
        import pandas as pd

        kind, bits = self._types[name], np.ascontiguousarray(bits)
        if kind == "category":
            return pd.Series(np.array([*self._categories[name], None], dtype=object)[bits], dtype="str")
        if kind == "datetime":
            return pd.Series(bits.view("datetime64[us]"))
        numbers = bits.view(np.float64)
        if kind == "boolean":
            return pd.Series(pd.arrays.BooleanArray(numbers == 1, np.isnan(numbers)))
        return pd.Series(numbers.copy())
