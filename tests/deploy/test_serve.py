"""The service's tokens come from Prefect's Secret blocks, and from the environment where Prefect has none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prefect.blocks.system import Secret

from ai_workflow.local.server import Server
from tests.serving import published_models
from tests.serving.running_service import ROOT

_PORT = re.compile(r"listening on http://[^ ]*:(\d+)")


@contextmanager
def served(tmp_path: Path, **variables: str | None) -> Iterator[tuple[str, list[str]]]:
    """Start `ai-workflow serve`, and give its address and its log so far; a variable that is None is unset."""
    pipeline = published_models.pipeline(tmp_path, service={"token": "${secret:shop-door}"})
    store = tmp_path / "store"
    store.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "ai_workflow", "serve", "--pipeline", str(pipeline), "--store", str(store)]
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = []
        try:
            for line in process.stderr:
                log.append(line)
                if found := _PORT.search(line):
                    yield f"http://127.0.0.1:{found[1]}", log
                    return
            raise AssertionError("".join(log))
        finally:
            process.terminate()
            process.communicate(timeout=120)


def status(address: str, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{address}/v2", headers=headers, trust_env=False, timeout=60).status_code


@pytest.mark.slow
def test_service_token_is_read_from_secret_block(tmp_path: Path, prefect_server: Server) -> None:
    Secret(value="from-the-block").save("shop-door", overwrite=True)  # type: ignore[arg-type]
    with served(tmp_path, SHOP_DOOR="from-the-environment") as (address, log):
        assert status(address, "from-the-block") == 200
        assert status(address, "from-the-environment") == 401
        assert not any("from-the-block" in line for line in log)


@pytest.mark.slow
def test_unreachable_prefect_falls_back_to_environment_token(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/api"
    with served(tmp_path, SHOP_DOOR="from-the-environment", PREFECT_API_URL=nobody) as (address, log):
        assert status(address, "from-the-environment") == 200
        assert any(
            "Secret block 'shop-door' cannot be read, its environment variable is used instead" in line for line in log
        )


@pytest.mark.slow
def test_prefect_profile_server_provides_token(tmp_path: Path, prefect_server: Server) -> None:
    Secret(value="from-the-block").save("shop-door", overwrite=True)  # type: ignore[arg-type]
    home = tmp_path / "home"
    home.mkdir()
    profile = f'active = "work"\n[profiles.work]\nPREFECT_API_URL = "{prefect_server.api_url}"\n'
    (home / "profiles.toml").write_text(profile)
    with served(tmp_path, SHOP_DOOR="from-the-environment", PREFECT_API_URL=None, PREFECT_HOME=str(home)) as (
        address,
        _,
    ):
        assert status(address, "from-the-block") == 200


@pytest.mark.slow
def test_profile_without_server_uses_environment_token_silently(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "profiles.toml").write_text('active = "empty"\n[profiles.empty]\n')
    with served(tmp_path, SHOP_DOOR="from-the-environment", PREFECT_API_URL=None, PREFECT_HOME=str(home)) as (
        address,
        log,
    ):
        assert status(address, "from-the-environment") == 200
    assert not any("Secret block" in line for line in log)
