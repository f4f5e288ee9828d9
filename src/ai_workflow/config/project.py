"""The project folder: flows, block catalogue, configuration, alert and dashboard definitions.

Each part is taken from the first of these folders that has it: AIW_ROOT (the current folder if not set), the checkout
that contains this package, the copy in the installed package.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.config.layers import INSTALLED_PROJECTS


def path(*parts: str) -> Path:
    """Return the path of a file or folder of the project; the path in the first folder if none has it."""
    named = os.environ.get("AIW_ROOT")
    roots = [Path(named).absolute() if named else Path.cwd(), *INSTALLED_PROJECTS]
    return next(
        (candidate for root in roots if (candidate := root.joinpath(*parts)).exists()), roots[0].joinpath(*parts)
    )


def root() -> Path:
    """Return the folder of `prefect.yaml`, which holds the flows and the configuration of deployments."""
    return path("prefect.yaml").parent


def name(file: Path | None = None) -> str:
    """Return the name of the project, `name:` of its prefect.yaml; empty if there is none.

    Args:
        file: the path of prefect.yaml; that of the project if not given.
    """
    try:
        document = yaml.safe_load((file or path("prefect.yaml")).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    return str(document.get("name") or "") if isinstance(document, dict) else ""


def event_labels(environment: str, project: str | None = None) -> dict[str, str]:
    """Return the labels of the events of a project in an environment, which its automations match.

    Args:
        environment: the environment.
        project: the name of the project, which is left out if it is empty; that of this project if not given.
    """
    project = name() if project is None else project
    return {"ai-workflow.environment": environment, **({"ai-workflow.project": project} if project else {})}


def module(name: str) -> Any:
    """Import a module of the project, such as `flows.training`, and return it.

    Raises:
        ModuleNotFoundError: the project has no such module.
    """
    package = name.partition(".")[0]
    root = str(path(package, "__init__.py").parents[1])
    if package not in sys.modules and root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(name)
