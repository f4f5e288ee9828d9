"""Build hook: a wheel carries the project folders, which `ai_workflow.config.project` finds outside of a checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROJECT = ("prefect.yaml", "flows", "blocks", "config", "monitoring")


class ProjectFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the project folders to `ai_workflow/_project`, except for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to the files of a standard wheel."""
        if version == "standard":
            build_data["force_include"] |= {name: f"ai_workflow/_project/{name}" for name in PROJECT}
