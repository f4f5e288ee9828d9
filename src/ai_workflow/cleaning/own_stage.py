"""Stage functions of a team's own code: loaded with checks, and called with loaded rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ai_workflow.cleaning.stage_rows import StageRows
from ai_workflow.config.settings import AddedStage
from ai_workflow.datasets import fingerprint
from ai_workflow.datasets.source_columns import MissingRules
from ai_workflow.errors import StageError
from ai_workflow.plugins import names, objects, own_versions
from ai_workflow.plugins.names import CodePath

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEY = "stages.after.data_loader"
_DOCS = "See docs/own-code.md#stages"


class RowStage(Protocol):
    """A stage after the loader: a function, or a class whose objects are called.

    `params` and `files` of the configuration are keyword arguments of the function, or of the class.
    """

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that are kept, with their values in the column `__row`, and any other columns.

        Args:
            rows: rows as they are loaded; the cells of text files are texts.
        """


class TableStage(Protocol):
    """A stage after the loader that needs all rows at once: its first argument is named `parts`."""

    def __call__(self, parts: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        """Yield tables of rows; rows without the column `__row` are new ones.

        Args:
            parts: the rows as they are loaded, a partition at a time; each iteration reads them again.
        """


class OwnStage:
    """A stage function, imported when it is first called.

    Args:
        stage: the settings of the stage.
        missing: the texts that mean a missing value in the source.
    """

    def __init__(self, stage: AddedStage, missing: MissingRules) -> None:
        self.path = code_path(stage)
        self.missing = missing
        self._stage = stage
        self._function: Callable[[Any], Any] | None = None

    @property
    def label(self) -> str:
        """The configuration key and the name of the code, for messages."""
        return f"{KEY} {self.path}"

    def rows(self, table: pa.Table, source: str) -> StageRows:
        """Return the result for loaded rows.

        Raises:
            StageError: the code is not found or fails, or its result is no table of these rows.
        """
        result, where = self._call(StageRows.given(table))
        self._check_frame(result, where)
        return StageRows.of(result, table, source, self.missing, where)

    def frames(self, parts: Iterable[pd.DataFrame]) -> Iterator[tuple[pd.DataFrame, str]]:
        """Yield each table of a stage that gets all rows, with the code for messages.

        Raises:
            StageError: the code is not found or fails, or yields no tables.
        """
        import pandas as pd

        result, where = self._call(parts)
        with objects.calls(self.label, "the function"):
            tables = iter([result] if isinstance(result, pd.DataFrame) else result)
        while True:
            with objects.calls(self.label, "the function"):
                frame = next(tables, None)
            if frame is None:
                return
            self._check_frame(frame, where)
            yield frame, where

    @property
    def takes_parts(self) -> bool:
        """Whether the stage gets all rows at once."""
        return takes_parts(load(self._stage))

    def _call(self, argument: Any) -> tuple[Any, str]:
        if self._function is None:
            self._function = self._bound(load(self._stage))
        with objects.calls(self.label, "the function"):
            result = self._function(argument)
        return result, f"{self.label}{self._location()}"

    def _check_frame(self, result: Any, where: str) -> None:
        import pandas as pd

        if not isinstance(result, pd.DataFrame):
            raise StageError(f"{where}: it returned {type(result).__name__}", "Return a pandas DataFrame")

    def code(self) -> str:
        """Return a digest of the code and its imports, or of its explicit version."""
        return fingerprint.of_own_code(self.path)

    def _bound(self, found: Any) -> Callable[[Any], Any]:
        arguments = {**self._stage.params, **self._stage.files}
        if not isinstance(found, type):
            return lambda argument: found(argument, **arguments)
        with objects.calls(self.label, "the constructor"):
            instance: Callable[[Any], Any] = found(**arguments)
        return instance

    def _location(self) -> str:
        return objects.location_of(load(self._stage))


def code_path(stage: AddedStage) -> CodePath:
    """Return the path of the code of a stage.

    Raises:
        StageError: no entry point has this name.
    """
    return names.required_path("stages", stage.kind, f"{KEY}: there is no stage")


def check(stage: AddedStage) -> tuple[str, ...]:
    """Import the code of a stage, and return it for a cache key.

    Raises:
        StageError: the code is not found, fails, or is no stage.
    """
    load(stage)
    reference = own_versions.reference(code_path(stage))
    return (reference,) if reference else ()


def takes_parts(found: Any) -> bool:
    """Return whether the first argument of a function, or of the objects of a class, is named `parts`."""
    try:
        names_of_all = list(inspect.signature(found.__call__ if isinstance(found, type) else found).parameters)
    except ValueError:
        return False
    return names_of_all[: 2 if isinstance(found, type) else 1][-1:] == ["parts"]


def load(stage: AddedStage) -> Any:
    """Return the function or class of a stage, which accepts its arguments.

    Raises:
        StageError: it is not found, fails to import, or is no stage.
    """
    path = code_path(stage)
    label = f"{KEY} {path}"
    _, found = objects.load(path, KEY)
    if not callable(found):
        raise StageError(f"{label} is {type(found).__name__}, neither a function nor a class", _DOCS)
    arguments: Mapping[str, Any] = {**stage.params, **stage.files}
    argument = "parts" if takes_parts(found) else "rows"
    if not isinstance(found, type):
        _check_signature(label, found, (argument,), arguments)
        return found
    if not any("__call__" in vars(base) for base in found.__mro__):
        raise StageError(f"{label}: the class has no method __call__", _DOCS)
    _check_signature(label, found, (), arguments)
    _check_signature(label, found.__call__, ("self", argument), {})
    return found


def _check_signature(label: str, function: Any, positional: tuple[str, ...], arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    try:
        signature.bind(*positional, **arguments)
    except TypeError as error:
        location = objects.location_of(getattr(function, "__init__", None) if isinstance(function, type) else function)
        shown = ", ".join([*positional, *arguments])
        raise StageError(
            f"{label}{location} does not accept the arguments ({shown}): {error}",
            "Correct the function, or params and files of the stage",
        ) from error
