"""Fit of feature functions: checks on a sample, kinds of the features, vocabularies of the training rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ai_workflow import json_text
from ai_workflow.config.settings import DerivedFeature, TargetEncoding
from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import column_formulas, own_features, transform
from ai_workflow.features.encodings.target_encoding import TargetEncoders
from ai_workflow.features.function_inputs import FunctionInputs
from ai_workflow.features.own_features import KEY, FittedFeature, OwnFeatures
from ai_workflow.json_text import NonFiniteNumberError
from ai_workflow.plugins import objects
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.features.spec import Feature, FeatureSpec, OwnFunction

Values = dict[str, "np.ndarray"]
_SAMPLE_ROWS, _SINGLE_ROWS, _ROWS_AT_ONCE = 200, 20, 10_000
# Characters of the state of a function, which each version and each process of a model has.
_MAX_STATE = 16 * 1024 * 1024


def add(
    store: Store,
    dataset: Dataset,
    spec: FeatureSpec,
    derive: Sequence[str | DerivedFeature],
    max_categories: int,
    min_count: int,
    encoders: TargetEncoders,
) -> FeatureSpec:
    """Return a spec with the features of functions after its own.

    Args:
        store: has the rows.
        dataset: clean rows.
        spec: the spec without functions.
        derive: dotted paths or entry points of the functions, and features derived from columns.
        max_categories: the number of most frequent texts with an index of their own.
        min_count: rarer texts share the index of unseen texts.
        encoders: the target encodings of `derive`.

    Raises:
        StageError: a function fails on a sample of the rows, its result for a row depends on other rows, or a feature
            has the name of another feature or column.
    """
    inputs = FunctionInputs(spec)
    sample = _sample(store, dataset, inputs)
    derived: list[OwnFunction] = []
    features: list[Feature] = []
    for item in derive:
        if isinstance(item, TargetEncoding):
            own = _encoding(item, encoders)
        else:
            own = _own_code(item, store, dataset, spec) if isinstance(item, str) else _formula(item, inputs, spec)
        kinds = _check(own, inputs, sample)
        used = {*dataset.info["schema"], *(each["name"] for each in [*spec["features"], *features])}
        _check_names(own["path"], kinds, used)
        derived.append({**own, "columns": list(kinds)})
        features += [_feature(name, is_number=is_number) for name, is_number in kinds.items()]
    added: FeatureSpec = {**spec, "features": [*spec["features"], *features], "derived": derived}
    for name, counts in _counts(store, dataset, added).items():
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        feature = next(each for each in features if each["name"] == name)
        feature["vocabulary"] = [text for text, count in ordered[:max_categories] if count >= min_count]
    return added


def _formula(item: DerivedFeature, inputs: FunctionInputs, spec: FeatureSpec) -> OwnFunction:
    schema = {name: spec["schema"][name] for name in inputs.names}
    formula = column_formulas.fit(item, schema, spec["statistics"])
    return {
        "path": column_formulas.label(formula),
        "code": column_formulas.DEFINITION,
        "columns": [],
        "formula": formula,
    }


def _encoding(item: TargetEncoding, encoders: TargetEncoders) -> OwnFunction:
    formula = {**item.model_dump(mode="json"), "name": item.feature}
    label = column_formulas.label(formula)
    return {
        "path": label,
        "code": column_formulas.definition(formula),
        "columns": encoders.columns(item.feature),
        "formula": formula,
        "state": _as_json(f"{KEY} {label}", "state", encoders.states[item.feature]),
    }


def _own_code(path: str, store: Store, dataset: Dataset, spec: FeatureSpec) -> OwnFunction:
    own: OwnFunction = {"path": path, "code": own_features.code_of(path), "columns": []}
    function = own_features.load(path)
    if own_features.is_fitted(function):
        own["state"] = _state(path, function, store, dataset, spec)
    return own


def _state(path: str, function: FittedFeature, store: Store, dataset: Dataset, spec: FeatureSpec) -> Any:
    """Return what a function learns from the training rows.

    Raises:
        StageError: it raises, or its result is no JSON or too large.
    """
    inputs = FunctionInputs(spec)
    label = f"{KEY} {path}"
    parts = (inputs.decode(inputs.encode(frame)) for frame in _training_rows(store, dataset, spec) if len(frame))
    with objects.calls(label, "fit"):
        state = function.fit(parts)
    return _as_json(label, "result of fit", state)


def _as_json(label: str, what: str, state: Any) -> Any:
    """Return a state as it is after writing and reading.

    Raises:
        StageError: it is no JSON or too large.
    """
    try:
        text = json_text.line(state)
    except (NonFiniteNumberError, TypeError, ValueError, RecursionError) as error:
        remedy = (
            "Return dicts with text keys, lists, texts, finite numbers and None; a numpy number as float(x) or int(x)"
        )
        raise StageError(f"{label}: the {what} is not JSON: {error}", remedy) from error
    if len(text) > _MAX_STATE:
        raise StageError(
            f"{label}: the {what} has {len(text):,} characters as JSON, at most {_MAX_STATE:,} are kept",
            "Keep less, such as the most frequent values only",
        )
    return json.loads(text)


def _feature(name: str, *, is_number: bool) -> Feature:
    if is_number:
        return {"name": name, "column": name, "kind": "number", "derived": True}
    return {"name": name, "column": name, "kind": "category", "vocabulary": [], "derived": True}


def _sample(store: Store, dataset: Dataset, inputs: FunctionInputs) -> np.ndarray:
    """Return the first rows of the first partition."""
    _, frame = next(partitions.frames(store, dataset, inputs.names, _SAMPLE_ROWS))
    return inputs.encode(frame)


def _check(own: OwnFunction, inputs: FunctionInputs, sample: np.ndarray) -> dict[str, bool]:
    """Return the names of the features of a function, and whether each is a number.

    Raises:
        StageError: it changes its rows or its state, or the result for a row is not the same in each call.
    """
    path, state = own["path"], json_text.line(own.get("state"))
    function, rows = own_features.load_trained(own), inputs.decode(sample)
    columns = own_features.call(path, function, rows)
    if not rows.equals(inputs.decode(sample)):
        raise StageError(f"{KEY} {path}: it changes the rows that it gets", "Begin with rows = rows.copy()")
    kinds = {name: own_features.is_number(path, column) for name, column in columns.items()}
    whole = _values(path, columns, kinds)

    def compare(part: slice, why: str) -> None:
        found = _values(path, own_features.call(path, function, inputs.decode(sample[part])), kinds)
        _compare(path, {name: values[part] for name, values in whole.items()}, found, why)

    compare(slice(None), "in a second call with the same rows")
    compare(slice(None, None, -1), "if the rows are in another order")
    for row in range(0, len(sample), max(1, len(sample) // _SINGLE_ROWS)):
        compare(slice(row, row + 1), "without the other rows")
    empty = inputs.without_values(sample[0])
    try:
        _values(path, own_features.call(path, function, inputs.decode(empty)), kinds)
    except StageError as error:
        remedy = "A request may have null in each nullable column: return a missing value for it"
        raise StageError(f"{error.problem}, for a row without values", remedy) from error
    if json_text.line(own.get("state")) != state:
        raise StageError(f"{KEY} {path}: it changes the state that it gets", "Begin with state = copy.deepcopy(state)")
    return kinds


def _values(path: str, columns: dict[str, pd.Series], kinds: dict[str, bool]) -> Values:
    if list(columns) != list(kinds):
        raise StageError(
            f"{KEY} {path}: it returns {', '.join(columns)} for some rows, and {', '.join(kinds)} for others",
            "Return the same columns for all rows",
        )
    read: dict[bool, Callable[[str, Any], np.ndarray]] = {True: own_features.numbers, False: own_features.texts}
    return {name: read[kinds[name]](path, column) for name, column in columns.items()}


def _compare(path: str, expected: Values, found: Values, why: str) -> None:
    for name, values in expected.items():
        for before, after in zip(_as_features(values), _as_features(found[name]), strict=True):
            if before != after and not (before != before and after != after):  # noqa: PLR0124 - NaN
                raise StageError(
                    f"{KEY} {path}: {name} of a row is {before} among other rows, and {after} {why}",
                    "The result for a row must depend on this row only, because the service gets single rows",
                )


def _as_features(values: np.ndarray) -> list[Any]:
    """Return texts, or numbers in the precision of the feature matrix."""
    import numpy as np

    with np.errstate(over="ignore"):
        numbers: list[Any] = (values if values.dtype == object else values.astype(np.float32)).tolist()
    return numbers


def _check_names(path: str, names: dict[str, bool], used: set[str]) -> None:
    if taken := sorted(used & set(names)):
        raise StageError(
            f"{KEY} {path}: the feature {taken[0]} has the name of a column or of another feature",
            "Give the function, or the column of its result, another name",
        )


def _counts(store: Store, dataset: Dataset, spec: FeatureSpec) -> dict[str, Counter[str]]:
    """Return the texts of each derived category in the training rows, with their numbers."""
    derived = [feature for feature in spec["features"] if feature.get("derived")]
    counts: dict[str, Counter[str]] = {each["name"]: Counter() for each in derived if each["kind"] == "category"}
    if not counts:
        return {}
    functions = OwnFeatures(spec)
    for frame in _training_rows(store, dataset, spec):
        values = functions.of_rows(frame)
        for name, counter in counts.items():
            counter.update(text for text in values[name] if text is not None)
    return counts


def _training_rows(store: Store, dataset: Dataset, spec: FeatureSpec) -> Iterator[pd.DataFrame]:
    """Yield the input columns of the training rows, some thousands at a time."""
    rule = spec["split"]
    # A partition of one file has no `__source`, which is then not read.
    names = [*split.input_columns(rule), *transform.input_columns(spec), *([SOURCE] if "files" in rule else [])]
    for part, frame in partitions.frames(store, dataset, list(dict.fromkeys(names)), _ROWS_AT_ONCE):
        yield frame[~split.is_holdout(frame, rule, part.source)].reset_index(drop=True)
