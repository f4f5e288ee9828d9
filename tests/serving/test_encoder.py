"""The service makes the same numbers of a row as training did, by whichever way, and says what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ai_workflow.features import transform
from ai_workflow.features.row_encoder import Encoder, InvalidRowsError
from tests.serving import published_models

ENCODER = Encoder(published_models.spec(), "shop")
NUMBERS = Encoder(
    published_models.spec(
        {name: {"type": "number", "max": 10.0} for name in "abc"},
        [{"name": name, "column": name, "kind": "number"} for name in "abc"],
    ),
    "numbers",
)
DATES = Encoder(
    published_models.spec(
        {"d": {"type": "datetime", "nullable": True}},
        [{"name": part, "column": "d", "kind": "date", "part": part} for part in transform.DATE_PARTS],
    ),
    "dates",
)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70), st.just(1e39), st.just(-0.0)
)
odd = st.one_of(
    st.none(), st.booleans(), st.text(max_size=6), numbers, st.sampled_from(["3.5", " 2 ", "nan", "", "1e3"])
)
moments = st.one_of(
    st.datetimes(min_value=pd.Timestamp("1700-01-01").to_pydatetime()).map(lambda moment: moment.isoformat()),
    st.dates().map(str),
    st.from_regex(r"\A20\d\d-[0-3]\d-[0-3]\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|\+02:00)?\Z"),
    st.sampled_from(["now", "2024-02-30", "0000-01-01", "2024-01-01T24:00:00", "9999-12-31", "2024-1-1"]),
)
row = st.fixed_dictionaries(
    {
        "price": st.one_of(numbers, odd),
        "weight": st.one_of(numbers, odd),
        "pieces": st.one_of(st.integers(-5, 200), odd),
        "colour": st.one_of(st.sampled_from(["red", "green", "blue", "pink"]), odd),
        "gift": st.one_of(st.booleans(), odd),
        "ordered": st.one_of(moments, odd),
    }
)
plain = st.fixed_dictionaries(
    {
        "price": st.one_of(st.floats(0, 1e38), st.integers(0, 2**70), st.floats(0, 1e-40)),
        "weight": st.one_of(st.none(), st.floats(-1e38, 1e38), st.integers(-(2**60), 2**60)),
        "pieces": st.integers(-(2**53), 100),
        "colour": st.sampled_from(["red", "green", "blue"]),
        "gift": st.booleans(),
        "ordered": st.datetimes(min_value=pd.Timestamp("1700-01-01").to_pydatetime()).map(
            lambda moment: moment.isoformat()
        ),
    }
)


def as_trained(encoder: Encoder, rows: list[dict[str, Any]]) -> bytes | None:
    """Return what the function of training and scoring makes of rows, or None where it refuses one."""
    with np.errstate(over="ignore"):
        matrix, problems = transform.read(rows, encoder.spec)
    return None if problems else matrix.tobytes()


@pytest.mark.integration
@given(plain)
@settings(max_examples=100, deadline=None)
@pytest.mark.slow
def test_fast_path_encodes_plain_rows_identically_to_training(row: dict[str, Any]) -> None:
    assume(abs(row["pieces"]) < 2**53)
    assert ENCODER.encode_fast([row]) == as_trained(ENCODER, [row])


@pytest.mark.integration
@given(
    st.builds(lambda row, odd, name: {**row, name: odd[name]}, plain, row, st.sampled_from(list(published_models.ROW)))
)
@settings(max_examples=200, deadline=None)
@pytest.mark.slow
def test_fast_path_matches_training_or_defers_to_slow_path(row: dict[str, Any]) -> None:
    quick = ENCODER.encode_fast([row])
    assert quick is None or quick == as_trained(ENCODER, [row])


@pytest.mark.integration
@given(st.fixed_dictionaries(dict.fromkeys("abc", numbers)))
@settings(max_examples=200, deadline=None)
def test_numbers_are_encoded_identically_to_training(row: dict[str, Any]) -> None:
    quick = NUMBERS.encode_fast([row])
    assert quick is None or quick == as_trained(NUMBERS, [row])


@pytest.mark.integration
@given(moments)
@settings(max_examples=200, deadline=None)
def test_dates_are_encoded_identically_to_training(moment: str) -> None:
    quick = DATES.encode_fast([{"d": moment}])
    assert quick is None or quick == as_trained(DATES, [{"d": moment}])


@pytest.mark.integration
@given(st.lists(row, min_size=2, max_size=4))
@settings(max_examples=30, deadline=None)
@pytest.mark.slow
def test_row_encoding_is_independent_of_batch(rows: list[dict[str, Any]]) -> None:
    alone = [as_trained(ENCODER, [row]) for row in rows]
    together = as_trained(ENCODER, rows)
    assert together == (None if None in alone else b"".join(filter(None, alone)))


def test_ordinary_rows_use_fast_path() -> None:
    rows = published_models.rows(200)
    quick = ENCODER.encode_fast(rows)
    assert quick is not None
    assert quick == published_models.matrix(rows).tobytes()
    assert ENCODER.encode_checked(rows) == quick


def test_text_values_are_parsed_as_in_training() -> None:
    told = {**published_models.ROW, "price": "9.5", "pieces": "3", "gift": "yes", "weight": "nan"}
    plain = {**published_models.ROW, "weight": None}
    assert ENCODER.encode_fast([told]) is None
    assert ENCODER.encode_checked([told]) == ENCODER.encode_fast([plain])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"price": -1}, "rows[1].price is below the minimum 0: -1"),
        ({"price": None}, "rows[1].price is missing: null"),
        ({"price": "cheap"}, 'rows[1].price is not a number: "cheap"'),
        ({"pieces": 2.5}, "rows[1].pieces is not a whole number: 2.5"),
        ({"pieces": 101}, "rows[1].pieces is above the maximum 100: 101"),
        ({"colour": "pink"}, 'rows[1].colour is not an allowed value: "pink"'),
        ({"gift": "perhaps"}, 'rows[1].gift is not true or false: "perhaps"'),
        ({"ordered": "yesterday"}, 'rows[1].ordered is not a date (ISO 8601): "yesterday"'),
        ({"colour": {"of": "red"}}, "rows[1].colour is not a single value"),
        ({"price": [1]}, "rows[1].price is not a single value"),
    ],
)
def test_invalid_value_error_names_row_and_column(changed: dict[str, Any], said: str) -> None:
    rows = [published_models.ROW, {**published_models.ROW, **changed}]
    assert ENCODER.encode_fast(rows) is None
    with pytest.raises(InvalidRowsError) as error:
        ENCODER.encode_checked(rows)
    assert str(error.value) == said


def test_missing_column_error_suggests_similar_name() -> None:
    wrong = {("prise" if name == "price" else name): value for name, value in published_models.ROW.items()}
    for way in (ENCODER.encode_fast, ENCODER.encode_checked):
        with pytest.raises(InvalidRowsError, match=r"rows\[0\] has no 'price', which the model needs; .*'prise'"):
            way([wrong])


def test_error_lists_at_most_five_problems() -> None:
    with pytest.raises(InvalidRowsError, match="and 7 more"):
        ENCODER.encode_checked([{**published_models.ROW, "price": -1}] * 12)


def test_null_is_encoded_as_missing_value() -> None:
    quick = ENCODER.encode_fast([{**published_models.ROW, "weight": None}])
    assert quick is not None
    found = np.frombuffer(quick, dtype="<f4")
    assert math.isnan(found[1])
    assert found[2] == 1
