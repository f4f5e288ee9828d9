"""Chat channels of own code: one message for each call, within the limits of every channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError
from ai_workflow.alerting.channels.factory import create_backend
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import Alert, Notification
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.config.problems import ConfigError
from ai_workflow.config.settings import Channel
from ai_workflow.errors import AiWorkflowError
from tests.config_project import BASE, Project
from tests.monitoring.relay.running_relay import LIVELY, RunningRelay, alert
from tests.own_code import TeamFolder

pytestmark = pytest.mark.integration
NOTICE = Notification("g", (Alert("k1", "firing", "StageFailed", "page", "@all the trainer failed"),))
MODULE = """
    import pathlib, threading, time
    from ai_workflow import RateLimitedError

    sent, release = [], threading.Event()

    class Pager:
        def __init__(self, url, secret=None, team="none"):
            sent.append(("new", url, secret, team))

        def send(self, message):
            sent.append(message)

    def page(message, mode=""):
        sent.append(message)
        if mode == "hang" and len(sent) == 1:
            release.wait()
        if mode == "limit" and len(sent) == 1:
            raise RateLimitedError("too many pages", 0.05)
        if mode == "fail":
            raise RuntimeError("pager of s3cr3t-token is down")
        return {"delay": 2, "false": False, "text": "ok"}.get(mode)
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    folder.write("team_chat.py", MODULE)
    yield folder
    folder.forget()


def channel(**options: Any) -> Channel:
    return Channel.model_validate({"name": "pager", "kind": "team_chat:page", "per_minute": 6000, **options})


def sent() -> list[Any]:
    import team_chat  # type: ignore[import-not-found]

    found: list[Any] = team_chat.sent
    return found


def release() -> None:
    import team_chat

    team_chat.release.set()


def with_outbox(settings: Channel, work: Callable[[Outbox], Awaitable[Any]]) -> Any:
    """Return the result of work with the outbox of a channel."""

    async def run() -> Any:
        outbox = Outbox(settings, create_backend(settings), DeliveryLog(300))
        try:
            return await work(outbox)
        finally:
            await outbox.close()

    return asyncio.run(run())


def send(settings: Channel) -> str:
    problem: str = with_outbox(settings, lambda outbox: outbox.deliver(NOTICE, 20))
    return problem


def test_class_gets_url_secret_and_params_once_and_each_message(team: TeamFolder) -> None:
    settings = channel(kind="team_chat:Pager", url="https://x", secret="s", params={"team": "credit"}, language="en")

    async def twice(outbox: Outbox) -> list[str]:
        later = Notification("g", (Alert("k2", "resolved", "StageFailed", "page"),))
        return [await outbox.deliver(notice, 20) for notice in (NOTICE, later)]

    assert with_outbox(settings, twice) == ["", ""]
    made, first, second = sent()
    assert made == ("new", "https://x", "s", "credit")
    assert (first.severity, second.severity) == ("page", "resolved")
    assert "StageFailed" in first.title
    assert "the trainer failed" in first.text
    assert "@all" not in first.text
    assert first.alerts == NOTICE.alerts


def test_function_is_a_channel_and_may_delay_the_next_message(team: TeamFolder) -> None:
    backend = create_backend(channel(params={"mode": "delay"}))
    assert asyncio.run(backend.send(NOTICE)) == 2
    assert len(sent()) == 1


def test_exception_is_an_undelivered_message_with_file_and_line_and_without_secrets(team: TeamFolder) -> None:
    line = next(number for number, line in enumerate(MODULE.splitlines(), 1) if "RuntimeError" in line)
    team.write("secret_chat.py", "def page(message, secret):\n    raise RuntimeError(secret)\n")
    problem = send(channel(params={"mode": "fail"}))
    assert "the channel raised RuntimeError: pager of s3cr3t-token is down" in problem
    assert f"team_chat.py:{line}" in problem
    assert "hidden-token" not in send(channel(kind="secret_chat:page", secret="hidden-token"))


@pytest.mark.parametrize(("mode", "kind"), [("false", "bool"), ("text", "str")])
def test_result_that_is_no_number_is_an_undelivered_message(team: TeamFolder, mode: str, kind: str) -> None:
    problem = send(channel(params={"mode": mode}))
    assert f"it returned {kind}. Raise an exception if the message was not delivered" in problem
    assert f"{team.folder / 'team_chat.py'}:" in problem


def test_rate_limited_message_is_sent_again(team: TeamFolder) -> None:
    async def limited(outbox: Outbox) -> str:
        problem = await outbox.deliver(NOTICE, 20)
        while len(sent()) < 2 or outbox.state.pending:
            await asyncio.sleep(0.01)
        return problem

    problem: str = asyncio.run(asyncio.wait_for(_outbox(channel(params={"mode": "limit"}), limited), 20))
    assert "rate limited for 0.05 s: too many pages" in problem
    assert [message.alerts for message in sent()] == [NOTICE.alerts] * 2


async def _outbox(settings: Channel, work: Callable[[Outbox], Awaitable[Any]]) -> Any:
    outbox = Outbox(settings, create_backend(settings), DeliveryLog(300))
    try:
        return await work(outbox)
    finally:
        await outbox.close()


def test_rate_limit_of_own_code_has_the_bounds_of_a_vendor(team: TeamFolder) -> None:
    for written, seconds in (("1e9", 3600), ("-1", 0), ("float('nan')", 3600)):
        team.write(
            f"limit{seconds}{len(written)}.py",
            f"from ai_workflow import RateLimitedError\ndef page(message): raise RateLimitedError('x', {written})\n",
        )
        backend = create_backend(channel(kind=f"limit{seconds}{len(written)}:page"))
        with pytest.raises(RateLimitedError) as raised:
            asyncio.run(backend.send(NOTICE))
        assert raised.value.seconds == seconds


def test_call_that_hangs_ends_at_the_deadline_and_the_next_message_is_sent(team: TeamFolder) -> None:
    settings = channel(params={"mode": "hang"}, timeout_seconds=0.2)

    async def twice(outbox: Outbox) -> list[str]:
        return [await outbox.deliver(NOTICE, 20) for _ in range(2)]

    try:
        assert with_outbox(settings, twice) == ["no response within 0.2 s", ""]
    finally:
        release()


def test_messages_fail_at_once_while_several_calls_hang(team: TeamFolder) -> None:
    team.write("stuck.py", "import threading\nrelease = threading.Event()\ndef page(message): release.wait()\n")

    async def several() -> str:
        backend = create_backend(channel(kind="stuck:page"))
        for _ in range(4):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(backend.send(NOTICE), 0.05)
        with pytest.raises(DeliveryError, match="4 earlier calls have not returned") as raised:
            await backend.send(NOTICE)
        return str(raised.value)

    try:
        assert asyncio.run(several()).startswith("chat.kind stuck:page")
    finally:
        import stuck  # type: ignore[import-not-found]

        stuck.release.set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("page = 3", "is int, not a channel"),
        ("class page: ...", "is a class without a method send, not a channel"),
        ("def page(): ...", "{file}:1 does not accept the arguments of the channel (team): "),
        ("def page(message): ...", "got an unexpected keyword argument 'team'. Correct chat.params"),
        ("class page:\n    def __init__(self): ...\n    def send(self, message): ...", "{file}:2 does not accept"),
        ("class page:\n    def __init__(self, team): ...\n    def send(self): ...", "too many positional arguments"),
        ("import absent_package", "the import needs the module absent_package, which is not installed"),
        ("def other(message): ...", "has no page. Name what it defines: other"),
    ],
)
def test_code_that_is_no_channel_keeps_the_relay_from_starting(team: TeamFolder, text: str, said: str) -> None:
    file = team.write("wrong_chat.py", text)
    with pytest.raises(AiWorkflowError) as raised:
        create_backend(channel(kind="wrong_chat:page", params={"team": "credit"}))
    assert str(raised.value).startswith("chat channel 'pager': chat.kind wrong_chat:page")
    assert said.format(file=file) in str(raised.value)


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        ("{name: a, kind: slak, url: 'https://x'}", "kind: unknown name 'slak'; did you mean 'slack'?"),
        ("{name: a, kind: 'absent:f'}", "chat.0.kind: absent:f: there is no module absent in "),
        ("{name: a, kind: 'mine:g'}", "mine.py does not define g; it defines f"),
        ("{name: a, kind: webhook, url: 'https://x', params: {a: 1}}", "chat.0.params: is for own code only"),
        ("{name: a, kind: webhook}", "give `kind` and `url`, or the `block` that holds them"),
    ],
)  # fmt: skip
def test_wrong_channel_is_reported_at_load(tmp_path: Path, chat: str, said: str) -> None:
    project = Project(tmp_path / "project")
    project.write("mine.py", "def f(message): ...\n")
    path = project.write("mine.yaml", f"{BASE}\nchat: [{chat}]\n")
    with pytest.raises(ConfigError) as raised:
        project.load(path)
    assert said in str(raised.value)


def test_relay_counts_failures_of_own_code_and_stops_while_a_call_hangs(tmp_path: Path) -> None:
    (tmp_path / "team_pager.py").write_text(
        "import pathlib, time\n"
        "def page(message, file): pathlib.Path(file).write_text(message.title)\n"
        "def fail(message): raise ConnectionError('the pager is down')\n"
        "def hang(message): time.sleep(600)\n"
    )
    file = tmp_path / "sent"
    chat: list[dict[str, Any]] = [
        {"name": "good", "kind": "team_pager:page", "params": {"file": str(file)}, **LIVELY},
        {"name": "failing", "kind": "team_pager:fail", **LIVELY},
        {"name": "hanging", "kind": "team_pager:hang", "timeout_seconds": 0.5},
    ]
    with RunningRelay(tmp_path, chat) as relay:
        response = relay.post(alert())
        assert (response.status_code, response.json()["delivered"]) == (503, ["good"])
        problems = response.json()["failed"]
        assert f"ConnectionError: the pager is down at {tmp_path / 'team_pager.py'}:3" in problems["failing"]
        assert problems["hanging"] == "no response within 0.5 s"
        assert file.read_text()
        for name, result in (("good", "delivered"), ("failing", "failed"), ("hanging", "failed")):
            assert relay.metric("alert_delivery_total", channel=name, result=result) == 1
        relay.process.terminate()
        assert relay.process.wait(60) is not None
