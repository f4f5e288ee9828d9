"""The relay on an event loop that measures itself: FILE, then the arguments of the relay."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.serving.measured_server import measure

if __name__ == "__main__":
    measure(Path(sys.argv.pop(1)))
    sys.argv.insert(1, "relay")
    runpy.run_module("ai_workflow", run_name="__main__")
