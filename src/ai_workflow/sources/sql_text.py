"""SQL statements for the log, with all literals masked, because they may be secret or personal."""

from __future__ import annotations

import re

from ai_workflow.secret_values import MASK, scrub

_QUOTED = re.compile(r"'(?:[^']|'')*'")
_QUOTED_TWICE = re.compile(r'"(?:[^"]|"")*"')
# With these, a quote may not start or end a literal: escapes, comments, dollar quoting.
_AMBIGUOUS = ("\\", "--", "/*", "#", "$")
# Databases with double quotes around names only; elsewhere they may be around literals.
_QUOTES_NAMES = ("postgresql", "oracle", "mssql")


def masked(statement: str, backend: str) -> str:
    """Return a statement on one line with its text literals as `'***'`.

    If it is ambiguous which quotes belong together, everything from the first to the last one is masked.

    Args:
        statement: the SQL.
        backend: the database, as SQLAlchemy names it.
    """
    text = " ".join(scrub(statement).split()) if "--" not in statement else scrub(statement)
    marks = "'$" if backend in _QUOTES_NAMES else "'\"$"
    is_ambiguous = any(sign in text for sign in _AMBIGUOUS)
    if not is_ambiguous:
        text = _QUOTED.sub(f"'{MASK}'", text)
        if backend not in _QUOTES_NAMES:
            text = _QUOTED_TWICE.sub(f"'{MASK}'", text)
        is_ambiguous = any(mark in text.replace(f"'{MASK}'", "") for mark in marks)
    if is_ambiguous and (positions := [at for at, sign in enumerate(text) if sign in marks]):
        end = positions[-1] + 1 if len(positions) > 1 else len(text)
        text = f"{text[: positions[0]]}'{MASK}'{text[end:]}"
    return " ".join(text.split())
