"""The writer of JSON: no NaN and no infinity, and the key of one is named."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import SUCCESS, Event, Journal

ROOT = Path(__file__).parents[1]
CODE = ("src", "flows", "deploy", "blocks", "monitoring")
NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"scores": {"rmse": NAN}}, "scores.rmse is nan"),
        ({"losses": [[1, 0.5], [2, INFINITY]]}, "losses[1][1] is inf"),
        (-INFINITY, "value is -inf"),
    ],
)
def test_non_finite_number_error_names_key(body: Any, said: str, tmp_path: Path) -> None:
    for write in (json_text.line, json_text.document, lambda body: Store(tmp_path).write_record("a.json", body)):
        with pytest.raises(AiWorkflowError) as caught:
            write(body)
        assert str(caught.value).startswith(said)
    assert not (tmp_path / "a.json").exists()


def test_non_finite_event_number_is_written_as_null(tmp_path: Path) -> None:
    book = Journal(Store(tmp_path))
    book.write(Event("ab" * 16, "credit", "training", "trainer", SUCCESS, seconds=NAN, numbers={"loss": INFINITY}))
    (event,) = book.read("ab" * 16)
    assert (event.seconds, event.numbers) == (None, {"loss": None})


def test_finite_values_round_trip_through_json() -> None:
    body = {"b": [1, 2.5, None, "\u00e9"], "a": {"c": True}}
    assert json.loads(json_text.document(body)) == json.loads(json_text.line(body)) == body
    assert json_text.line({"b": 1, "a": 2}, compact=True) == '{"a":2,"b":1}'


@pytest.mark.integration
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1000, 1000).map(lambda x: round(x, 3)),
        min_size=40,
    )
)
def test_long_lists_of_numbers_are_written_as_by_python(numbers: list[float]) -> None:
    body = {"b": numbers, "a": {"x": [numbers], "é": numbers[:2]}}
    assert json_text.line(body) == json.dumps(body, sort_keys=True, ensure_ascii=False)
    settled = [number for number in numbers if number == 0 or 1e-4 <= abs(number) < 1e15]
    assert json_text.line(settled) == json.dumps(settled)


def test_long_list_with_nan_is_refused_with_key() -> None:
    with pytest.raises(json_text.NonFiniteNumberError, match=r"^a\.b\[40\] is nan"):
        json_text.line({"a": {"b": [0.5] * 40 + [NAN]}})


def test_document_has_line_for_each_key_of_two_levels() -> None:
    body = {"b": {"y": [1.5, 2.5], "x": {"deep": [1]}}, "a": [{"k": 1}, []], 1.5: {}}
    text = json_text.document({str(key): value for key, value in body.items()}).decode()
    assert text == (
        '{\n "1.5": {},\n "a": [\n  {"k": 1},\n  []\n ],\n "b": {\n  "x": {"deep": [1]},\n  "y": [1.5, 2.5]\n }\n}\n'
    )
    assert json.loads(json_text.document({None: 1})) == {"null": 1}


@pytest.mark.integration
def test_only_json_text_module_writes_json() -> None:
    places = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in places if _writes(path.read_text())] == [
        str(ROOT / "src" / "ai_workflow" / "json_text.py")
    ]


@pytest.mark.parametrize(
    "text", ["json.dumps(a)", "json.dump(a, f)", "json.JSONEncoder().encode(a)", "from json import dumps"]
)
def test_direct_json_writer_is_detected(text: str) -> None:
    assert _writes(text)


def _writes(text: str) -> bool:
    nodes = list(ast.walk(ast.parse(text)))
    called = any(
        isinstance(node, ast.Attribute)
        and node.attr in ("dump", "dumps", "JSONEncoder")
        and isinstance(node.value, ast.Name)
        and node.value.id == "json"
        for node in nodes
    )
    return called or any(isinstance(node, ast.ImportFrom) and node.module == "json" for node in nodes)
