"""A workspace of Prefect Cloud: URL and key are all it takes, and a refusal is one line with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLOUD_API_URL,
    temporary_settings,
)

from ai_workflow.config import loader
from ai_workflow.local.server import Server
from ai_workflow.provisioning.blocks import relay_block
from tests.deploy import cloud as stand_in
from tests.deploy.cloud import Cloud
from tests.deploy.deploying_project import Place
from tests.flows.workspace import ROOT

pytestmark = pytest.mark.integration

KEY = "pnu_0815"
REAL = "https://api.prefect.cloud/api/accounts/0a1b/workspaces/2c3d"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A workspace that PREFECT_API_URL and PREFECT_API_KEY name."""
    with stand_in.running() as cloud:
        used: dict[Any, Any] = {
            PREFECT_API_URL: cloud.url,
            PREFECT_API_KEY: KEY,
            PREFECT_API_AUTH_STRING: None,
            PREFECT_CLOUD_API_URL: cloud.url.removesuffix(stand_in.WORKSPACE) + "/api",
            PREFECT_CLIENT_MAX_RETRIES: 0,
        }
        monkeypatch.setenv("PREFECT_API_URL", cloud.url)
        monkeypatch.setenv("PREFECT_API_KEY", KEY)
        with temporary_settings(used):
            yield cloud


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("flows", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    return Place(tmp_path, httpx.Client())


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"detail": "Invalid authentication credentials"},
         ": Invalid authentication credentials. Set PREFECT_API_KEY to an API key of that workspace. "),
        (401, {}, ". Set PREFECT_API_KEY to an API key of that workspace. "),
        (403, {"detail": "Forbidden"}, ". Check the permissions of PREFECT_API_KEY and the limits of the plan. "),
        (403, {"detail": "Your role cannot see work pools"},
         ": Your role cannot see work pools. Check the permissions of PREFECT_API_KEY and the limits of the plan. "),
        (404, {"detail": "Not Found"}, "Check account and workspace in PREFECT_API_URL"),
        (429, {"detail": "Too many"}, ": Too many. Run this again in a minute: the rate limit of the plan"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_prefect_cloud_rejection_has_remedy_and_changes_no_objects(
    place: Place, cloud: Cloud, status: int, body: dict[str, str], said: str
) -> None:
    cloud.refuses = status, body
    told = place.bootstrapped("prefect.yaml")
    assert (told.code, told.out) == (2, [])
    [line] = told.err.splitlines()
    assert line.startswith(
        f"error: Prefect Cloud at 127.0.0.1 answers {status} to POST {stand_in.WORKSPACE}/work_pools/"
    )
    assert said in line
    assert line.endswith(". Nothing was changed")
    assert KEY not in line
    assert cloud.requests
    assert cloud.writes == []
    assert {login for _, _, login in cloud.requests} == {f"Bearer {KEY}"}


def test_conflicting_auth_string_and_api_key_are_reported(place: Place, cloud: Cloud) -> None:
    cloud.refuses = 401, {"detail": "Invalid authentication credentials"}
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:0815"}):
        told = place.bootstrapped("prefect.yaml")
    [line] = told.err.splitlines()
    assert "Unset PREFECT_API_AUTH_STRING, which is sent in place of PREFECT_API_KEY. Nothing was changed" in line


def test_plan_limit_error_names_reason_and_pending_steps(place: Place, cloud: Cloud) -> None:
    cloud.refuses_writes = 403, {"detail": "Your plan does not allow work pools of this type"}
    told = place.bootstrapped("prefect.yaml")
    assert (told.code, told.out) == (1, [])
    last = told.err.splitlines()[-1]
    assert ": Your plan does not allow work pools of this type. Check the permissions of PREFECT_API_KEY and" in last
    assert "Done: nothing. Not done: variables, work pool, deployments, block webhook/alert-relay, auto" in last
    assert "log" not in last


@pytest.mark.parametrize(
    ("relay", "api", "warned"),
    [
        (None, REAL, True),
        ("http://10.0.0.7:9110/prefect", REAL, True),
        ("http://[fd00::1]:9110/prefect", REAL, True),
        ("http://relay:9110/prefect", REAL, True),
        ("https://relay.corp.internal/prefect", REAL, True),
        ("https://relay.example.com/prefect", REAL, False),
        (None, "http://127.0.0.1:4200/api", False),
    ],
)
def test_relay_unreachable_from_prefect_cloud_logs_warning(relay: str | None, api: str, warned: bool) -> None:
    settings = loader.load(None, overrides={"deploy.relay_url": relay} if relay else {}).settings
    said = relay_block.unreachable(settings, api)
    assert bool(said) is warned
    assert said is None or "Set deploy.relay_url to an https address" in said


def test_ui_url_points_to_cloud_workspace() -> None:
    assert Server(REAL).ui_url == "https://app.prefect.cloud/account/0a1b/workspace/2c3d"
    assert Server("http://127.0.0.1:4200/api").ui_url == "http://127.0.0.1:4200"
