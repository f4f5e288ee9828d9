"""Garbage collection in servers: a full collection stops the event loop for tens of milliseconds."""

from __future__ import annotations

import gc

# A large body would start the collector hundreds of times while it is read.
_THRESHOLD = 50_000


def tune_for_server() -> None:
    """Exclude all that exists from later collections, and collect less often; call it once a server has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, 10, 10)
