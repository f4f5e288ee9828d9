"""Errors of a Prefect API: the variable to set, and the reason that the answer gives."""

from __future__ import annotations

import httpx
import pytest

from ai_workflow.prefect_errors import explain, is_cloud

OWN = "http://127.0.0.1:4200/api/work_pools/"
CLOUD = "https://api.prefect.cloud/api/accounts/1f/workspaces/2e/work_pools/"
PROXIED = "https://prefect.example.com/api/accounts/1f/workspaces/2e/work_pools/"


def error(url: str, status: int, **body: object) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", url)
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status, request=request, **body))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "cloud"),
    [
        (OWN, False),
        (CLOUD, True),
        (PROXIED, True),
        ("https://app.prefect.cloud/api", True),
        ("https://prefect.cloud.example.com/api", False),
        ("https://notprefect.cloud/api", False),
    ],
)
def test_prefect_cloud_url_is_detected_by_host_or_workspace(url: str, cloud: bool) -> None:
    assert is_cloud(url) is cloud


@pytest.mark.parametrize("url", [CLOUD, PROXIED])
def test_invalid_prefect_cloud_key_error_names_variable(url: str) -> None:
    said = explain(error(url, 401, json={"detail": "Invalid authentication credentials"}))

    assert "PREFECT_API_KEY" in said
    assert "Invalid authentication credentials" in said
    assert "PREFECT_API_AUTH_STRING" not in said


def test_login_overriding_api_key_is_named_in_error() -> None:
    """Prefect's client sends PREFECT_API_AUTH_STRING where both are set."""
    request = httpx.Request("POST", CLOUD, headers={"Authorization": "Basic YTpi"})
    response = httpx.Response(401, request=request, json={"detail": "Invalid authentication credentials"})
    said = explain(httpx.HTTPStatusError("", request=request, response=response))
    assert said.endswith("Unset PREFECT_API_AUTH_STRING, which is sent in place of PREFECT_API_KEY")


@pytest.mark.parametrize(
    ("url", "status", "remedy"),
    [
        (
            CLOUD,
            404,
            "Check account and workspace in PREFECT_API_URL, and that the owner of PREFECT_API_KEY is a member",
        ),
        (OWN, 404, "Check PREFECT_API_URL"),
        (CLOUD, 429, "Run this again in a minute: the rate limit of the plan is exceeded"),
        (OWN, 429, "Run this again in a minute"),
    ],
)
def test_prefect_cloud_error_status_has_specific_remedy(url: str, status: int, remedy: str) -> None:
    assert explain(error(url, status, json={"detail": "Not Found"})).endswith(f": Not Found. {remedy}")


def test_missing_login_for_self_hosted_server_is_named() -> None:
    said = explain(error(OWN, 401, json={"exception_message": "Unauthorized"}))

    assert said == (
        "the Prefect server at http://127.0.0.1:4200 answers 401 to POST /api/work_pools/. "
        "Set PREFECT_API_AUTH_STRING to the login of the server, user:password"
    )


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"detail": "Plan limit reached: 3 pools."}},
        {"json": {"exception_message": "Plan limit reached: 3 pools"}},
        {"json": {"detail": [{"msg": "Plan limit reached: 3 pools", "loc": ["body"]}]}},
        {"json": {"exception_message": "Plan limit reached: 3 pools", "exception_detail": []}},
        {"json": "Plan limit reached: 3 pools"},
        {"text": "Plan limit reached:\n 3 pools\n"},
    ],
)
@pytest.mark.parametrize("status", [403, 409, 422])
def test_prefect_cloud_error_shows_reason_without_server_log_hint(body: dict[str, object], status: int) -> None:
    said = explain(error(CLOUD, status, **body))

    assert f"answers {status} to POST" in said
    assert ": Plan limit reached: 3 pools. " in said
    assert "log" not in said


def test_only_self_hosted_error_refers_to_server_log() -> None:
    assert explain(error(OWN, 500, json={"exception_message": "Internal Server Error"})).endswith("log says more")
    assert "log" not in explain(error(CLOUD, 500))


@pytest.mark.parametrize("text", ["<html>" + "x" * 9000, "x" * 9000, "\x1b[31mred\x07"])
def test_hostile_response_body_is_truncated_and_escaped(text: str) -> None:
    said = explain(error(CLOUD, 403, text=text))

    assert len(said) < 600
    assert said.isprintable()
