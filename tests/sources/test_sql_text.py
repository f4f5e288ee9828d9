"""SQL in the log: no literal of a statement is shown, whatever quotes are around it."""

from __future__ import annotations

import pytest

from ai_workflow.sources.sql_text import masked

KEY = "k3y-of-the-table"


@pytest.mark.parametrize(
    ("backend", "statement", "expected"),
    [
        ("postgresql", "SELECT a,\n  b FROM t WHERE n > 5", "SELECT a, b FROM t WHERE n > 5"),
        ("postgresql", "SELECT f(a, '{KEY}') FROM t WHERE c = 'it''s {KEY}' ORDER BY a",
         "SELECT f(a, '***') FROM t WHERE c = '***' ORDER BY a"),
        ("postgresql", """SELECT "a b" FROM "t" WHERE c = '{KEY}'""", """SELECT "a b" FROM "t" WHERE c = '***'"""),
        ("mysql", 'SELECT a FROM t WHERE c = "{KEY}"', "SELECT a FROM t WHERE c = '***'"),
        ("mysql", "SELECT a FROM t WHERE b = 'x\\' {KEY}' AND c = '{KEY}'", "SELECT a FROM t WHERE b = '***'"),
        ("postgresql", "SELECT a FROM t WHERE c = $q${KEY} it's$q$ LIMIT 3", "SELECT a FROM t WHERE c = '***' LIMIT 3"),
        ("postgresql", "SELECT a -- it's\nFROM t WHERE c = '{KEY}' LIMIT 3", "SELECT a -- it'***' LIMIT 3"),
        ("postgresql", "SELECT a /* it's */ FROM t WHERE c = '{KEY}'", "SELECT a /* it'***'"),
        ("sqlite", "SELECT a FROM t WHERE c = '{KEY}", "SELECT a FROM t WHERE c = '***'"),
    ],
)  # fmt: skip
def test_sql_literals_are_masked(backend: str, statement: str, expected: str) -> None:
    found = masked(statement.replace("{KEY}", KEY), backend)
    assert found == expected
    assert KEY not in found
