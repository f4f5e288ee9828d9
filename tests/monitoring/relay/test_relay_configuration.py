"""What is wrong with a relay's configuration is said at the start, with no secret in it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from ai_workflow.alerting.server import Server
from ai_workflow.config import loader
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import secret_blocks
from ai_workflow.provisioning.blocks import block_values
from tests import ending_commands, services
from tests.monitoring.relay.running_relay import ROOT

pytestmark = pytest.mark.integration


def configured(file: Path) -> Server:
    settings = loader.load(root=ROOT, env={"AIW_CONFIG": str(file)}).settings
    return Server(settings.relay, settings.chat)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"relay": {"host": "0.0.0.0"}}, "can be reached from other machines: set relay.token"),  # noqa: S104
        (
            {"chat": [{"name": "a", "kind": "slack", "url": "https://example.com/s3cr3t"}]},
            "chat.0.url: does not fit kind slack",
        ),
        ({"chat": [{"name": "a", "kind": "wecom", "url": "ftp://s3cr3t"}]}, "chat.0.url: does not fit kind wecom"),
        (
            {"chat": [{"name": "a", "kind": "wecom", "url": "https://x/send?key=s3cr3t", "secret": "s"}]},
            "is not for wecom",
        ),
        ({"chat": [{"name": "a", "kind": "dingtalk", "url": "${secret:no-such}"}]}, "secret 'no-such' is not set"),
        ({"chat": [{"name": "a", "kind": "slack"}]}, "give `kind` and `url`, or the `block`"),
        ({"chat": [{"name": "a", "block": "b"}]}, "there is no ChatChannel block 'b'"),
        ({"chat": [{"name": "a", "block": "b"}, {"name": "a", "block": "c"}]}, "two channels are named a"),
        (
            {"chat": [{"name": "a", "block": "b", "pipelines": ["credit"]}]},
            "every channel for page, ticket, chat lists pipelines",
        ),
        (
            {
                "chat": [
                    {"name": "a", "block": "b", "severities": ["page", "ticket"]},
                    {"name": "b", "block": "b", "severities": ["ticket", "chat"], "pipelines": ["credit"]},
                ]
            },
            "every channel for chat lists pipelines",
        ),
        (
            {"chat": [{"name": "a", "kind": "wecom", "url": "https://x/send?key=k", "timezone": "Mars"}]},
            "must be a time zone",
        ),
    ],
)
def test_invalid_relay_config_error_contains_no_secret(tmp_path: Path, given: dict[str, object], problem: str) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(yaml.safe_dump(given))

    with pytest.raises(AiWorkflowError) as refused:
        configured(file)

    assert problem in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_hung_prefect_server_does_not_block_relay_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(secret_blocks, "TIMEOUT_SECONDS", 0.1)
    with services.hanging_server() as url, temporary_settings({PREFECT_API_URL: url}):
        assert block_values.secret("relay-token") is None
    assert (
        "Secret block 'relay-token' cannot be read, its environment variable is used instead: TimeoutError"
        in caplog.text
    )


@pytest.mark.slow
def test_relay_start_failure_exits_with_code_2_and_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "ai_workflow", "relay", "--port", str(taken.getsockname()[1])]
        done = ending_commands.run(command, cwd=ROOT)

    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
