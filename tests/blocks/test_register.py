"""The blocks of the catalogue come from the environment or a person, once, and their values are never shown."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import httpx
import pytest
from prefect.blocks.core import Block
from prefect.blocks.system import Secret

from ai_workflow.cli.main import exit_code
from ai_workflow.local.server import Server
from ai_workflow.provisioning.blocks.chat_channel import ChatChannel
from ai_workflow.provisioning.blocks.registration import BlockError, Outcome
from ai_workflow.provisioning.blocks.registration import register as register_with
from blocks.catalogue import CHATS, SECRETS
from tests import prefect_retry

VALUE = "canary-4711-value"
CHAT = {
    "ON_CALL_KIND": "feishu", "ON_CALL_URL": f"https://open.example/hook/{VALUE}", "ON_CALL_SECRET": f"{VALUE}-sign",
}  # fmt: skip
# A server of its own.
NEEDS_SERVER = pytest.mark.slow
COMMAND = [sys.executable, "-m", "ai_workflow", "blocks", "register"]


OURS = {block.variable for block in SECRETS} | {name for chat in CHATS for name in chat.variables.values()}


def register(*, fails: bool = False, **env: str) -> str:
    """Run the command with nobody at a terminal, and return all that it says."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        for name in OURS:
            patch.delenv(name, raising=False)
        for name, given in env.items():
            patch.setenv(name, given)
        patch.setattr(sys, "stdin", io.StringIO())
        code = exit_code(["blocks", "register"])
    assert VALUE not in said.getvalue()
    assert bool(code) == fails, said.getvalue()
    return said.getvalue()


def value(name: str) -> str:
    found = Secret.load(name)
    assert isinstance(found, Secret)
    return str(found.get())


@pytest.fixture
def empty(prefect_server: Server) -> Server:
    """The server without any block of the catalogue."""
    blocks = [*((block.name, "secret") for block in SECRETS), *((chat.name, "chat-channel") for chat in CHATS)]
    with prefect_retry.client(prefect_server.api_url) as api:
        for name, kind in blocks:
            found = api.get(f"/block_types/slug/{kind}/block_documents/name/{name}")
            if found.status_code == 200:
                api.delete(f"/block_documents/{found.json()['id']}").raise_for_status()
    return prefect_server


@NEEDS_SERVER
def test_repeated_registration_is_unchanged_and_masks_values(empty: Server) -> None:
    block = SECRETS[0]
    given = {block.variable: VALUE, **CHAT}

    first = register(**given)
    assert f"{block.name}: made" in first
    assert "on-call: made" in first
    assert f"{SECRETS[1].name}: not made: set {SECRETS[1].variable} ({SECRETS[1].purpose})" in first
    assert "nothing changed" not in first
    second = register(**given)
    assert f"{block.name}: unchanged" in second
    assert "block type ChatChannel: unchanged" in second
    assert "nothing changed" in second
    found = ChatChannel.load("on-call")
    assert isinstance(found, ChatChannel)
    assert found.settings() == {"kind": "feishu", "url": CHAT["ON_CALL_URL"], "secret": CHAT["ON_CALL_SECRET"]}


@NEEDS_SERVER
def test_unset_value_is_kept_and_new_value_replaces_old(empty: Server) -> None:
    block = SECRETS[0]

    assert "on-call: not made: set ON_CALL_KIND and ON_CALL_URL" in register(**{block.variable: VALUE})
    assert f"{block.name}: there already" in register()
    assert f"{block.name}: changed" in register(**{block.variable: VALUE + "2"})
    assert value(block.name) == VALUE + "2"


@NEEDS_SERVER
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ON_CALL_KIND": "fax", "ON_CALL_SECRET": ""}, "block 'on-call': kind: Input should be 'slack', "),
        ({"ON_CALL_KIND": "slack"}, "block 'on-call': a chat of kind slack takes no secret. Remove it"),
        ({"ON_CALL_URL": ""}, "block 'on-call': also set ON_CALL_URL, or none of ON_CALL_KIND, "),
        ({"ON_CALL_URL": VALUE}, "block 'on-call': url does not fit kind feishu. Use https://open.feishu.cn/"),
    ],
)
def test_invalid_block_value_is_rejected_before_any_save(empty: Server, changed: dict[str, str], said: str) -> None:
    told = register(fails=True, **{"RELAY_TOKEN": VALUE, **CHAT, **changed})

    assert said in told
    with pytest.raises(ValueError, match="Unable to find"):
        value("relay-token")


@NEEDS_SERVER
def test_terminal_prompt_hides_typed_values(empty: Server) -> None:
    typed = ["", VALUE, "", "", "", "discord", f"https://discord.example/webhooks/1/{VALUE}"]
    parent, child = pty.openpty()
    with subprocess.Popen(
        COMMAND,
        env={k: v for k, v in os.environ.items() if k not in OURS},
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    ) as process:
        os.close(child)
        shown = ""
        try:
            for answer in typed:
                shown += _until_prompt(parent)
                os.write(parent, f"{answer}\n".encode())
            shown += _rest(parent)
        finally:
            # A prompt without an answer would wait for ever.
            process.kill()
    os.close(parent)

    assert VALUE not in shown
    assert "inference-token: made" in shown
    assert "on-call: made" in shown
    assert value("inference-token") == VALUE


@NEEDS_SERVER
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"its kind": "fax", "URL": f"https://{VALUE}"}, "block 'on-call': kind: Input should be 'slack', "),
        ({"its kind": "slack", "URL": VALUE}, "block 'on-call': url does not fit kind slack. Use "),
        ({"its kind": "slack"}, "block 'on-call': url: Field required"),
    ],
)
def test_typed_values_are_validated_before_any_save(
    empty: Server, monkeypatch: pytest.MonkeyPatch, typed: Mapping[str, str], said: str
) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    answers = {**dict.fromkeys((block.name for block in SECRETS), VALUE), **typed}

    def answer(what: str, _: bool) -> str:
        return next((given for word, given in answers.items() if word in what), "")

    async def outcomes() -> list[Outcome]:
        return [outcome async for outcome in register_with(answer)]

    with pytest.raises(BlockError) as refused:
        asyncio.run(outcomes())

    assert said in str(refused.value)
    assert VALUE not in str(refused.value)
    for block in SECRETS:
        with pytest.raises(ValueError, match="Unable to find"):
            value(block.name)


@NEEDS_SERVER
def test_chat_channel_block_type_has_description_and_working_example(empty: Server) -> None:
    register()
    found = httpx.get(f"{empty.api_url}/block_types/slug/chat-channel", trust_env=False, timeout=60).json()

    assert found["logo_url"]
    assert found["documentation_url"]
    assert "alert relay" in found["description"]
    code = re.search(r"```python\n(.*?)```", found["code_example"], re.DOTALL)
    assert code
    saved: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "save", lambda _self, name: saved.append(name))
        exec(code[1], {})  # noqa: S102 - the example, as the form shows it
    assert saved == ["on-call"]


def test_shipped_config_secrets_are_in_block_catalog() -> None:
    files = [Path(f"config/{name}.yaml") for name in ("base", "development", "production")]
    named = {name for file in files for name in re.findall(r"\$\{secret:([a-z][a-z0-9-]*)\}", file.read_text())}
    assert named
    assert named <= {block.name for block in SECRETS}


def _until_prompt(terminal: int) -> str:
    shown = ""
    while not shown.endswith("(empty to skip): "):
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 4096).decode()
    return shown


def _rest(terminal: int) -> str:
    shown = ""
    try:
        while read := os.read(terminal, 4096):
            shown += read.decode()
    except OSError:  # the other end is closed
        pass
    return shown
