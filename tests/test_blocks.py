"""The Secret blocks of the catalogue come from the environment, once, and their values are never shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from blocks.catalogue import SECRETS
from deploy.server import Server

VALUE = "canary-4711-value"


def register(server: Server, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in {block.variable for block in SECRETS}}
    done = subprocess.run(
        [sys.executable, "-m", "blocks", "register"],
        env={**clean, "PREFECT_API_URL": server.api_url, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert VALUE not in done.stdout + done.stderr
    return done.stdout


def test_registering_twice_changes_nothing_and_shows_no_value(prefect_server: Server) -> None:
    block = SECRETS[0]
    assert f"{block.name}: not made: set {block.variable}" in register(prefect_server)
    assert f"{block.name}: made" in register(prefect_server, **{block.variable: VALUE})
    assert f"{block.name}: unchanged" in register(prefect_server, **{block.variable: VALUE})
    assert f"{block.name}: there already" in register(prefect_server)
    assert f"{block.name}: changed" in register(prefect_server, **{block.variable: VALUE + "2"})


def test_every_secret_that_the_shipped_configuration_names_is_in_the_catalogue() -> None:
    files = [Path(f"config/{name}.yaml") for name in ("base", "development", "production")]
    named = {name for file in files for name in re.findall(r"\$\{secret:([a-z][a-z0-9-]*)\}", file.read_text())}
    assert named == {block.name for block in SECRETS}
