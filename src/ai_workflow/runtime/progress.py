"""Progress of long stages: a stage reports it, and the receiver of its context shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

IN_CACHE_KEY = False
# done, total, and a note: the unit or a current value (`rows`, `loss 0.31`)
ShowProgress = Callable[[int, int, str], None]
_show: ContextVar[ShowProgress | None] = ContextVar("aiw_progress", default=None)


def report(done: int, total: int, note: str = "") -> None:
    """Report that `done` of `total` units are done; without a receiver this does nothing."""
    show = _show.get()
    if show is not None:
        show(done, total, note)


def set_receiver(show: ShowProgress | None) -> None:
    """Set the receiver of the reports of this context and of threads that copy it."""
    _show.set(show)
