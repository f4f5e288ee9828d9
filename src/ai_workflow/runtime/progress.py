"""How far a long stage is: stages report, whoever runs them decides how to show it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

IN_CACHE_KEY = False
# done, total, and what is being counted or a figure worth seeing (`rows`, `loss 0.31`)
ShowProgress = Callable[[int, int, str], None]
_show: ContextVar[ShowProgress | None] = ContextVar("aiw_progress", default=None)


def report(done: int, total: int, note: str = "") -> None:
    """Say that `done` of `total` units are done; does nothing where nobody watches."""
    show = _show.get()
    if show is not None:
        show(done, total, note)


def set_receiver(show: ShowProgress | None) -> None:
    """Send the reports of this context, and of the threads that copy it, to `show`."""
    _show.set(show)
