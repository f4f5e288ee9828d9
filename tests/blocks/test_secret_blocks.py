"""Values of Prefect Secret blocks: without a server, with one that does not answer, and with one."""

from __future__ import annotations

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from ai_workflow.local.server import Server
from ai_workflow.orchestration import secret_blocks
from tests import services

pytestmark = pytest.mark.integration


def test_without_a_configured_server_there_is_no_value_and_no_warning() -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        assert secret_blocks.read("relay-token") == (None, "")


def test_a_server_that_does_not_answer_gives_a_warning_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_blocks, "TIMEOUT_SECONDS", 0.1)
    with services.hanging_server() as url, temporary_settings({PREFECT_API_URL: url}):
        value, warning = secret_blocks.read("relay-token")
    assert value is None
    assert warning.startswith(
        "Secret block 'relay-token' cannot be read, its environment variable is used instead: TimeoutError"
    )


@pytest.mark.usefixtures("prefect_server")
def test_a_block_has_a_value_and_a_missing_one_has_none(prefect_server: Server) -> None:
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        Secret(value="s3cr3t").save("of-the-test", overwrite=True)
        assert secret_blocks.read("of-the-test") == ("s3cr3t", "")
        assert secret_blocks.load("of-the-test") == "s3cr3t"
        assert secret_blocks.read("no-such-block") == (None, "")
        assert secret_blocks.load("no-such-block") is None
