"""Modules of a team for tests: files in a folder of a test, and a process that forgets them afterwards."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from ai_workflow.plugins import search_path

SGD = Path(__file__).parents[1] / "docs" / "examples" / "sgd.py"


class TeamFolder:
    """The folder of a pipeline file; its modules are importable until `forget`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = set(sys.modules)
        # Python compares only size and second of a file, and tests change files faster.
        self._writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        search_path.use([folder])

    def write(self, name: str, text: str) -> Path:
        """Write a module, without the indentation that its lines share."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def forget(self) -> None:
        """Remove the modules of this folder from the process."""
        search_path.use([])
        sys.dont_write_bytecode = self._writes_bytecode
        for name in set(sys.modules) - self._before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]
