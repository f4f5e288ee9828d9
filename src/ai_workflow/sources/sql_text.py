"""SQL statements for the log: a literal may be a key or personal, so every one of them is masked."""

from __future__ import annotations

import re

from ai_workflow.secret_values import MASK, scrub

_QUOTED = re.compile(r"'(?:[^']|'')*'")
_QUOTED_TWICE = re.compile(r'"(?:[^"]|"")*"')
# With these a quote may not be the begin or the end of a literal: escapes, comments, quotes by dollars.
_UNSURE = ("\\", "--", "/*", "#", "$")
# Double quotes are around names there, elsewhere they may be around literals.
_NAMES = ("postgresql", "oracle", "mssql")


def masked(statement: str, backend: str) -> str:
    """Return a statement in one line with its text literals as `'***'`.

    Where it is not certain which quotes belong together, all between the first and the last one is masked.

    Args:
        statement: the SQL.
        backend: the database, as SQLAlchemy names it.
    """
    text = " ".join(scrub(statement).split()) if "--" not in statement else scrub(statement)
    marks = "'$" if backend in _NAMES else "'\"$"
    is_unsure = any(sign in text for sign in _UNSURE)
    if not is_unsure:
        text = _QUOTED.sub(f"'{MASK}'", text)
        if backend not in _NAMES:
            text = _QUOTED_TWICE.sub(f"'{MASK}'", text)
        is_unsure = any(mark in text.replace(f"'{MASK}'", "") for mark in marks)
    if is_unsure and (places := [at for at, sign in enumerate(text) if sign in marks]):
        end = places[-1] + 1 if len(places) > 1 else len(text)
        text = f"{text[: places[0]]}'{MASK}'{text[end:]}"
    return " ".join(text.split())
