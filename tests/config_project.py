"""A project in an empty folder, whose configuration depends on nothing else of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_workflow.config.loader import Loaded, load

BASE = """\
pipeline: base
task: classification
source: {kind: sample, name: iris}
target: target
"""


class Project:
    """A folder with config/base.yaml, an os-release file and an `etc` folder of its own."""

    def __init__(self, root: Path, base: str = BASE) -> None:
        self.root = root
        self.env = {"AIW_OS_RELEASE": str(root / "os-release"), "AIW_ETC": str(root / "etc")}
        (root / "etc").mkdir(parents=True)
        self.write("os-release", "ID=debian\n")
        self.write("config/base.yaml", base)

    def write(self, name: str, text: str) -> Path:
        """Write a file below the project's folder and return its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, pipeline: str | Path | None = None, *, env: dict[str, str] | None = None, **options: Any) -> Loaded:
        """Load the configuration with no variables but the project's and those given."""
        return load(pipeline, root=self.root, env=self.env | (env or {}), **options)
