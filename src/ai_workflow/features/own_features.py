"""Feature functions of a team's own code: loaded for a feature spec, called with checks of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from ai_workflow.datasets import fingerprint
from ai_workflow.errors import BrokenVersionError, StageError
from ai_workflow.features import column_formulas
from ai_workflow.features.function_inputs import FunctionInputs
from ai_workflow.plugins import names, objects, own_versions
from ai_workflow.plugins.names import CodePath

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.features.spec import FeatureSpec, OwnFunction

KEY = "features.derive"


class FeatureFunction(Protocol):
    """A feature function: the result for a row depends on that row only."""

    def __call__(self, rows: pd.DataFrame) -> pd.Series | pd.DataFrame:
        """Return one feature, named by the function, or a column for each feature; with the index of `rows`."""


class FittedFeature(Protocol):
    """A feature function that learns from the training rows; a class without arguments, or an object."""

    def fit(self, parts: Iterable[pd.DataFrame]) -> Any:
        """Return what `transform` needs, as JSON; `parts` are the training rows, some thousands at a time."""

    def transform(self, rows: pd.DataFrame, state: Any) -> pd.Series | pd.DataFrame:
        """Return the features of rows, like a feature function."""


class OwnFeatures:
    """The feature functions of a spec, imported and of the code that the spec was fitted with.

    Raises:
        BrokenVersionError: a function is missing, fails to import, or has other code than in the training.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        derived = spec.get("derived", [])
        self.inputs = FunctionInputs(spec)
        self._functions = [(own["path"], load_trained(own), own["columns"]) for own in derived]
        self._is_text = {feature["name"]: feature["kind"] == "category" for feature in spec["features"]}

    def of_rows(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return each feature of clean rows: float64, or text with None."""
        return self.of_inputs(self.inputs.encode(frame))

    def of_inputs(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return each feature of encoded inputs."""
        features = {}
        for path, function, expected in self._functions:
            columns = call(path, function, self.inputs.decode(values))
            if list(columns) != expected:
                raise StageError(
                    f"{KEY} {path}: it returned {_listed(columns)}, and {_listed(expected)} in the training",
                    "Return the same columns for all rows",
                )
            for name, column in columns.items():
                features[name] = texts(path, column) if self._is_text[name] else numbers(path, column)
        return features


def code_path(text: str) -> CodePath:
    """Return the path of a feature function.

    Raises:
        StageError: it is no path, and no entry point has this name.
    """
    if path := names.path("features", text):
        return path
    raise StageError(f"{KEY}: there is no feature function {text}", "Write module:name")


def references_of(spec: FeatureSpec) -> tuple[str, ...]:
    """Return the own code of a spec for a cache key."""
    return references([function["path"] for function in spec.get("derived", []) if "formula" not in function])


def references(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the code of functions for a cache key; a function whose module is missing has none."""
    found = (own_versions.reference(code_path(text)) for text in paths)
    return tuple(sorted({reference for reference in found if reference}))


def check(paths: Sequence[str]) -> tuple[str, ...]:
    """Import all functions, and return their code for a cache key.

    Raises:
        StageError: a function is not found, fails to import, or is no function.
    """
    for text in paths:
        load(text)
    return references(paths)


def code_of(text: str) -> str:
    """Return a digest of the code of a function and its imports, or of its explicit version; libraries do not count.

    Raises:
        StageError: the module is not found or cannot be read.
    """
    return fingerprint.of_own_code(code_path(text))


def load(text: str) -> Callable[[pd.DataFrame], Any] | FittedFeature:
    """Import a feature function, or an object with `fit` and `transform`.

    Raises:
        StageError: it is not found, fails to import, or is neither.
    """
    path = code_path(text)
    label = f"{KEY} {path}"
    _, found = objects.load(path, KEY)
    if isinstance(found, type):
        with objects.calls(label, "the class"):
            found = found()
    if is_fitted(found):
        return found
    if not callable(found) or hasattr(found, "fit"):
        raise StageError(
            f"{label} is {type(found).__name__}, neither a function nor an object with fit and transform",
            "Name a function of the module, or a class with both methods",
        )
    return found  # type: ignore[no-any-return]


def is_fitted(function: object) -> TypeGuard[FittedFeature]:
    """Return whether a feature function learns from the training rows."""
    return all(callable(getattr(function, name, None)) for name in ("fit", "transform"))


def bound(function: Any, state: Any) -> Callable[[pd.DataFrame], Any]:
    """Return the function of rows; a fitted one has this state."""
    rows_function: Callable[[pd.DataFrame], Any] = function
    return (lambda rows: function.transform(rows, state)) if is_fitted(function) else rows_function


def load_trained(own: OwnFunction) -> Callable[[pd.DataFrame], Any]:
    """Import a function of a version, whose code must be that of its training."""
    if "formula" in own:
        function, code = column_formulas.function(own), column_formulas.definition(own["formula"])
    else:
        try:
            function, code = bound(load(own["path"]), own.get("state")), code_of(own["path"])
        except StageError as error:
            raise BrokenVersionError(error.problem, error.remedy) from error
    if code != own["code"]:
        raise BrokenVersionError(
            f"{KEY} {own['path']}: its code {code} is not the code {own['code']} that the version was trained with",
            "Train again, or deploy the code of the training with the version",
        )
    return function


def call(path: str, function: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the columns that a function returns for rows.

    Raises:
        StageError: it raises, or returns another type, length or index.
    """
    import pandas as pd

    label, index = f"{KEY} {path}", rows.index
    with objects.calls(label, "the function"):
        result = function(rows)
    if not isinstance(result, pd.Series | pd.DataFrame):
        raise StageError(f"{label}: it returned {type(result).__name__}", "Return a pandas Series or DataFrame")
    if len(result) != len(index):
        raise StageError(f"{label}: it returned {len(result)} rows for {len(index)} rows", "Return one for each row")
    if not result.index.equals(index):
        raise StageError(f"{label}: the index of its result is not that of its rows", "Return the rows in their order")
    if isinstance(result, pd.Series):
        return {code_path(path).name: result}
    columns = list(result.columns)
    if not columns or len({*columns}) < len(columns) or not all(isinstance(name, str) and name for name in columns):
        raise StageError(f"{label}: it returned the columns {_listed(columns)}", "Give each column a text of its own")
    return {name: result[name] for name in columns}


def is_number(path: str, column: pd.Series) -> bool:
    """Return whether a result has numbers; otherwise it has texts."""
    import pandas as pd

    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype) or (
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    ):
        return True
    if (
        isinstance(dtype, pd.CategoricalDtype)
        or pd.api.types.is_string_dtype(dtype)
        or pd.api.types.is_object_dtype(dtype)
    ):
        return False
    raise StageError(f"{KEY} {path}: it returned values of type {dtype}", "Return numbers, booleans or text")


def numbers(path: str, column: pd.Series) -> np.ndarray:
    """Return the numbers of a result as float64; an infinite number is missing."""
    import numpy as np

    try:
        values: np.ndarray = column.to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise StageError(f"{KEY} {path}: it returned no numbers, and numbers in the training: {error}") from error
    return np.where(np.isfinite(values), values + 0.0, np.nan)


def texts(path: str, column: pd.Series) -> np.ndarray:
    """Return the texts of a result, None for a missing value."""
    values: np.ndarray = column.astype(object).to_numpy(copy=True)
    missing = column.isna().to_numpy()
    if wrong := [type(value).__name__ for value in values[~missing] if not isinstance(value, str)]:
        raise StageError(f"{KEY} {path}: it returned {wrong[0]} among texts", "Return numbers, booleans or text")
    values[missing] = None
    return values


def _listed(columns: Any) -> str:
    return ", ".join(map(str, columns)) or "none"
