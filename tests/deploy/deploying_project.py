"""A folder to deploy from, the server that it is deployed to, and what bootstrap says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from ai_workflow.cli.main import exit_code
from tests.flows.workspace import ROOT

# A pipeline that trains in seconds, without its name.
PIPELINE = """
pipeline: {}
task: classification
source: {{kind: sample, name: iris}}
target: target
trainer: {{steps: 5}}
evaluate: {{minimum: 0.1, beat_baseline: false}}
"""


class Said(NamedTuple):
    """The exit code of a command, the lines of what it says, and its complaints."""

    code: int
    out: list[str]
    err: str


def furnish(folder: Path) -> Path:
    """Give a folder the flows, the configuration and the deployments of this project."""
    for name in ("flows", "config"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    return folder


@dataclass(frozen=True)
class Place:
    """A folder to deploy from, with a server of its own that asks for a login."""

    folder: Path
    api: httpx.Client

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a module against the server."""
        environment = os.environ | {"AIW_STORE": str(self.folder / "var"), "AIW_ROOT": str(ROOT)}
        environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", **variables}
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=300, check=False,
        )  # fmt: skip

    def bootstrapped(self, *arguments: str, **variables: str) -> Said:
        """Run it in this process, as starting one takes longer than its work."""
        out, err = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "path", [*sys.path])
            patch.chdir(self.folder)
            given = {"AIW_STORE": str(self.folder / "var"), "AIW_ROOT": str(ROOT)}
            # Production demands a token of the relay.
            given |= {"RELAY_TOKEN": "relay-token-0815"} if "production" in arguments else {}
            for name, value in (given | variables).items():
                patch.setenv(name, value)
            code = exit_code(["deploy", *(arguments or ("prefect.yaml",))])
        return Said(code, out.getvalue().splitlines(), err.getvalue())

    def bootstrap(self, *arguments: str, **variables: str) -> list[str]:
        """Run it, and return what it says was done."""
        said = self.bootstrapped("prefect.yaml", *arguments, **variables)
        assert said.code == 0, said
        return said.out

    def all(self, what: str, **asked: Any) -> list[dict[str, Any]]:
        """Return every record of a kind."""
        reply = self.api.post(f"/{what}/filter", json=asked)
        reply.raise_for_status()
        found: list[dict[str, Any]] = reply.json()
        return found

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment by its name."""
        return next(one for one in self.all("deployments", limit=200) if one["name"] == name)
