"""Source of the code of deployments: folder or git repository, parameters, version."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ai_workflow.provisioning.links import Links
from ai_workflow.provisioning.ownership import Owner, project


@dataclass(frozen=True, slots=True)
class Source:
    """Source of the code for workers: a folder of their machine, or a git repository.

    Args:
        folder: the checkout, for workers on this machine.
        git: URL of a repository, which is used instead of the folder.
        ref: branch of the repository.
        token_block: Secret block with an access token, read by the worker when it pulls.
        parameters: default `config` and `environment` of deployments.
        pipeline: the pipeline of the configuration.
        environment: the environment of the configuration.
        environments: all environments of the project.
        links: addresses of Prefect and Grafana for browsers.
        name: the name of the project in prefect.yaml; empty if it has none.
        label: the end of the names of the deployments, once the server has recorded the owner.
    """

    folder: Path
    git: str | None = None
    ref: str | None = None
    token_block: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    pipeline: str = "sample"
    environment: str = "development"
    environments: tuple[str, ...] = ()
    links: Links = field(default_factory=Links)
    name: str = ""
    label: str = ""

    @property
    def owner(self) -> Owner:
        """The owner of the deployments."""
        return Owner(self.pipeline, self.environment, str(project(self.steps())), self.name, self.label)

    def steps(self) -> list[dict[str, Any]]:
        """Return the pull steps."""
        if self.git is None:
            return [{"prefect.deployments.steps.set_working_directory": {"directory": str(self.folder.resolve())}}]
        token = f"{{{{ prefect.blocks.secret.{self.token_block} }}}}" if self.token_block else None
        clone = {"repository": self.git, "branch": self.ref, "access_token": token}
        return [{"prefect.deployments.steps.git_clone": {key: value for key, value in clone.items() if value}}]

    @property
    def version(self) -> str:
        """The commit of the folder, with `+changes` if files differ from it.

        For a git URL or a folder without git, the version of the package, with the branch if one is given.
        """
        commit = None if self.git else _commit(self.folder)
        return commit or version("ai-workflow") + (f"+{self.ref}" if self.git and self.ref else "")


def _commit(folder: Path) -> str | None:
    """Return the abbreviated commit of a checkout, None without git or a repository."""
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
