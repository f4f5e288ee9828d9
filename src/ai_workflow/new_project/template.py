"""The files of a new project: those of this project that a team edits, and those of `files/`."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

from ai_workflow.config.layers import INSTALLED_PROJECTS

PACKAGE = "ai-workflow"
# Patterns of this project's files.
_OWN = ("prefect.yaml", "flows/*.py", "blocks/*.py", "config/*.yaml", "monitoring/slo.yaml")
_FILES = Path(__file__).parent / "files"
_SUFFIX = ".template"


def version() -> str:
    """Return the version of the installed package."""
    return importlib.metadata.version(PACKAGE)


def requirement() -> str:
    """Return the requirement of the installed package: the address it was installed from, else its version."""
    # PEP 610
    text = importlib.metadata.distribution(PACKAGE).read_text("direct_url.json")
    origin = json.loads(text) if text else {}
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return f"{PACKAGE} @ {vcs['vcs']}+{origin['url']}@{vcs['commit_id']}"
    if "url" in origin:
        return f"{PACKAGE} @ {origin['url']}"
    return f"{PACKAGE}=={version()}"


def files(package: str) -> dict[str, bytes]:
    """Return the content of each file by its path in the project.

    Args:
        package: the requirement by which pip installs this package.
    """
    found = dict(_own_files())
    for path in sorted(_FILES.rglob(f"*{_SUFFIX}")):
        found[path.relative_to(_FILES).as_posix().removesuffix(_SUFFIX)] = path.read_bytes()
    found["requirements.txt"] = f"{package}\n".encode()
    return found


def _own_files() -> Iterator[tuple[str, bytes]]:
    root = next(root for root in INSTALLED_PROJECTS if (root / "prefect.yaml").is_file())
    for pattern in _OWN:
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), path.read_bytes()
