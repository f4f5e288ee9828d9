"""`make up`, before anything runs: what is refused, what each service is given, and by what it is kept alive."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from ai_workflow.cli import stack as stack_commands
from ai_workflow.cli.common_options import WritingOptions
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import server, server_environment
from ai_workflow.local.process import Process
from ai_workflow.local.server_environment import FolderError
from ai_workflow.local.stack import launch, manager, processes
from ai_workflow.local.stack import stack as stacks
from ai_workflow.local.stack.paths import StackOptions, StackPaths, StackState
from ai_workflow.local.stack.services import POSTGRESQL, SECRETS, SERVICES
from tests import services
from tests.deploy import running_stack
from tests.deploy.running_stack import ROOT, RunningStack, in_folder

GIVEN = {name: f"canary-{name.lower()}" for name in SECRETS} | {"PREFECT_LOGIN": "canary:login", "PATH": os.defpath}
# Comments, expansions, an escape, quotes, a pattern, a variable, an option, the home folder.
ODD = ["a #b", "a ;b", "50%", "x%2Fy", "%(here)s", 'it\'s "so"', "[a]*", "$HOME `id`", "-c", "~", "价格 é\\n"]
NO_CHANNEL = "0: alerts are shown by Prometheus and Alertmanager only. Add a channel to chat (docs/chat.md)"
# Whoever is not named here beside a secret does not get it, under whatever name.
READERS = {
    "PREFECT_LOGIN": {"server", "worker", "exporter", "relay"},
    "PREFECT_ENCRYPTION_KEY": {"server"},
    "INFERENCE_TOKEN": {"service"},
    "INFERENCE_LABEL_TOKEN": {"service"},
    "INFERENCE_ADMIN_TOKEN": {"service"},
    "RELAY_TOKEN": {"relay"},
    "MONITORING_PASSWORD": set(),
    "DATABASE_PASSWORD": {"worker"},
    "AWS_ACCESS_KEY_ID": {"worker", "service", "exporter"},
    "AWS_SECRET_ACCESS_KEY": {"worker", "service", "exporter"},
}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    with in_folder(tmp_path) as found:
        yield found


@pytest.mark.integration
def test_used_port_is_reported_before_any_service_starts(stack: RunningStack) -> None:
    with socket.socket() as taken:
        taken.bind((services.LOOPBACK, stack.options.port(stack.options.named("relay"))))
        taken.listen()
        done = stack.command("up", "--offset", str(stack.options.offset))

    port = stack.options.port(stack.options.named("relay"))
    assert (done.returncode, done.stdout) == (2, "")
    # A test beside this one may have another of the ports.
    assert re.search(rf"taken already: port .*\b{port} \(alert relay\).*\. Nothing was started", done.stderr)
    assert "OFFSET=100" in done.stderr
    assert processes.find(stack.place.folder) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"PREFECT_API_URL": "http://127.0.0.1:4200/api"}, "PREFECT_API_URL is set"),
        ({"PREFECT_LOGIN": "no-password"}, "PREFECT_LOGIN is not of the form user:password"),
        ({"AIW_ENVIRONMENT": "production", "AIW_HOST": "::"}, "service.host is ::"),
        ({"AIW_PORT": "many"}, "service.port"),
    ],
    ids=["another server", "login", "open to others", "configuration"],
)
def test_invalid_options_are_rejected_before_any_service_starts(
    stack: RunningStack, given: dict[str, str], said: str
) -> None:
    done = stack.command("up", **given)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert processes.find(stack.place.folder) == []


@pytest.mark.parametrize(
    ("given", "channel", "said"),
    [
        (
            {},
            {"kind": "telegram", "url": "https://api.telegram.org/bot1/sendMessage"},
            "chat.0.url: does not fit kind telegram",
        ),
        ({}, {"kind": "webhook", "url": "file:///tmp/x"}, "chat.0.url: does not fit kind webhook"),
        ({}, {"kind": "apprise", "url": "unheard-of://x"}, "chat.0.url: does not fit kind apprise"),
        ({"AIW_ALLOWED_ORIGINS": "https://*.example.com"}, {}, "it is not an origin"),
    ],
    ids=["telegram", "webhook", "apprise", "origins"],
)
def test_invalid_channel_url_is_rejected_before_any_service_starts(
    tmp_path: Path, given: dict[str, str], channel: dict[str, str], said: str
) -> None:
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(json.dumps({"chat": [{"name": "team", **channel}] if channel else []}))
    place = StackPaths(tmp_path)

    with pytest.raises(AiWorkflowError, match=re.escape(said)):
        stacks.up(place, StackOptions(config=str(pipeline)), given, print)

    assert processes.find(place.folder) == []


@pytest.mark.slow
def test_make_run_server_is_stopped_only_if_stack_can_start(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That of other tests, in the same process.
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    before = server.ensure(stack.place.var)
    assert before.pid is not None
    port = int(before.api_url.rpartition(":")[2].removesuffix("/api"))
    stack.options = StackOptions(offset=port - 4200)
    try:
        with socket.socket() as taken:
            taken.bind((services.LOOPBACK, stack.options.port(stack.options.named("relay"))))
            taken.listen()
            # Too busy to answer, it is known for what it is all the same.
            os.kill(before.pid, signal.SIGSTOP)
            done = stack.command("up", "--offset", str(stack.options.offset))
            os.kill(before.pid, signal.SIGCONT)

        assert "(alert relay)" in done.stderr
        assert "(Prefect)" not in done.stderr
        found = server.status(stack.place.var)
        assert found
        assert found.pid == before.pid
    finally:
        server.stop(stack.place.var)


@pytest.mark.integration
def test_down_and_status_report_stopped_stack(stack: RunningStack) -> None:
    assert stack.down() == "No stack was running\n"
    status = stack.command("status")
    assert (status.returncode, status.stdout) == (
        3,
        "Nothing runs. `make run` starts a Prefect server, `make up` the whole stack\n",
    )


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_passed_only_to_services_requiring_access(tmp_path: Path, secret: str) -> None:
    place, options = StackPaths(tmp_path), StackOptions()
    holders = {
        service.name
        for service in SERVICES
        if any(GIVEN[secret] in value for value in launch.environment(service, options, place, GIVEN).values())
    }
    assert holders == READERS[secret]


def test_stack_server_requires_login_and_uses_make_run_database(tmp_path: Path) -> None:
    found = launch.environment(StackOptions().named("server"), StackOptions(), StackPaths(tmp_path), GIVEN)

    assert found["PREFECT_SERVER_API_AUTH_STRING"] == "canary:login"
    assert found["PREFECT_SERVER_ENCRYPTION_KEY"] == GIVEN["PREFECT_ENCRYPTION_KEY"]
    assert found["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert found["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith(f"{tmp_path}/prefect/prefect.db")


def test_offset_shifts_every_port(tmp_path: Path) -> None:
    place, options = StackPaths(tmp_path), StackOptions(offset=100)

    said = {service.name: " ".join(launch.command(service, options, place)) for service in options.services}
    assert "--port 4300" in said["server"]
    assert "--port 8180" in said["service"]
    assert "--port 9209" in said["exporter"]
    assert "--port 9210" in said["relay"]
    for name, outer, inner in (("prometheus", 9190, 9211), ("alertmanager", 9193, 9212)):
        if f"{name}-guard" in said:
            assert f"--port {outer} --upstream http://127.0.0.1:{inner}" in said[f"{name}-guard"]
            assert f"--web.listen-address=127.0.0.1:{inner}" in said[name]
            assert f"--web.external-url=http://127.0.0.1:{outer}/" in said[name]
    environment = launch.environment(options.named("worker"), options, place, GIVEN)
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4300/api"


def test_supervisor_restarts_services_and_stops_process_groups() -> None:
    options = StackOptions(postgresql=True)
    found = configparser.RawConfigParser()
    found.read_string(manager.configuration(options))

    programs = [name.removeprefix("program:") for name in found.sections() if name.startswith("program:")]
    assert programs == [POSTGRESQL.name, *(service.name for service in options.services[1:])]
    for name in programs:
        program = found[f"program:{name}"]
        assert shlex.split(program["command"]) == ["./launch", name]
        assert (program["autorestart"], program["killasgroup"]) == ("true", "true")
    assert found["program:postgresql"]["stopsignal"] == "INT"
    ranks = [int(found[f"program:{name}"]["priority"]) for name in programs]
    assert ranks == sorted(ranks)


@pytest.mark.integration
@pytest.mark.parametrize(
    "part", ["a #b ;c %2F %(x)s [*]", *(pytest.param(part, marks=pytest.mark.slow) for part in ODD)]
)
def test_supervisor_works_in_folder_with_special_characters(tmp_path: Path, part: str) -> None:
    """supervisord reads the paths that it is started with, and touches no file outside the folder of the stack."""
    place = StackPaths(tmp_path / f"{part} 1" / "var")
    (place.folder / "logs").mkdir(parents=True)
    neighbour = tmp_path / part.partition(" ")[0]
    if not neighbour.exists():
        neighbour.write_text("not of the stack")
    kept = set(tmp_path.iterdir())
    process = manager.start(place, StackOptions(), os.environ)
    try:
        running_stack.until(lambda: _services(place))
        assert place.socket.is_socket()
        assert (place.folder / "supervisord.log").is_file()
    finally:
        process.end()
    assert set(tmp_path.iterdir()) == kept
    assert neighbour.is_dir() or neighbour.read_text() == "not of the stack"


def _services(place: StackPaths) -> dict[str, manager.ServiceStatus]:
    try:
        return manager.Manager(place).find()
    except manager.ManagerError:
        return {}


@pytest.mark.integration
def test_launcher_works_in_project_folder_with_special_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ODD:
        folder = tmp_path / part
        folder.mkdir()
        python = folder / "python"
        python.write_text('#!/bin/sh\npwd -P > "$0.pwd"\nprintf "%s " "$@" > "$0.arguments"\n')
        python.chmod(0o700)
        monkeypatch.setattr(manager.project, "root", lambda folder=folder: folder)
        monkeypatch.setattr(sys, "executable", str(python))
        script = tmp_path / "launch"
        script.write_text(manager.launcher())
        script.chmod(0o700)
        subprocess.run([script, "relay"], check=True)
        assert (folder / "python.pwd").read_text() == f"{folder}\n"
        assert (folder / "python.arguments").read_text() == "-m ai_workflow.local.stack.launch relay "


@pytest.mark.integration
@pytest.mark.parametrize(
    "part",
    ["a{{ b }}", pytest.param("what?", marks=pytest.mark.soak), pytest.param("two\nlines", marks=pytest.mark.slow)],
)
def test_folder_name_unsupported_by_prefect_is_rejected(tmp_path: Path, part: str) -> None:
    folder = tmp_path / part
    folder.mkdir()
    with in_folder(folder) as stack:
        before = sorted(folder.rglob("*"))
        done = stack.command("up")

    assert done.returncode == 2
    assert "cannot hold a Prefect server" in done.stderr
    assert "Move or rename the folder" in done.stderr
    assert not list(tmp_path.rglob("*.db*"))
    assert {path.name for path in set(folder.rglob("*")) - set(before)} <= {"var", "stack", "lock"}
    with pytest.raises(FolderError, match="cannot hold a Prefect server"):
        server_environment.build(folder, 4200, {})


def test_deep_folder_has_short_unique_socket_path(tmp_path: Path) -> None:
    deep, other = StackPaths(tmp_path / ("d" * 120)), StackPaths(tmp_path / ("e" * 120))

    assert len(str(deep.socket)) < 100
    assert deep.socket != other.socket


def test_services_without_installed_program_are_omitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert [service.name for service in StackOptions().services] == ["server", "worker", "service", "exporter", "relay"]


@pytest.mark.integration
def test_make_up_passes_variables_as_options() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "up", "DB=postgresql", "OFFSET=7", "PIPELINE=a b.yaml", "ENVIRONMENT=production",
         "TAKE_OVER=1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    [line] = re.findall(r"-m ai_workflow (up.*)", said.replace("\\\n", ""))
    assert shlex.split(line) == [
        "up", "--pipeline", "a b.yaml", "--environment", "production", "--database", "postgresql", "--offset", "7",
        "--take-over",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["service", "exporter", "relay"])
def test_pipeline_option_is_passed_to_services(name: str, tmp_path: Path) -> None:
    service, place = StackOptions().named(name), StackPaths(tmp_path)
    command = launch.command(service, StackOptions(config="/srv/own pipeline.yaml"), place)

    assert command[-2:] == ["--pipeline", "/srv/own pipeline.yaml"]
    assert "--pipeline" not in launch.command(service, StackOptions(), place)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["ops", "data"], "     chats  2: ops, data"),
        ([], f"     chats  {NO_CHANNEL}"),
    ],
    ids=["two channels", "none"],
)
def test_make_up_summary_shows_channel_count(
    names: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = tmp_path / "own.yaml"
    channels = [{"name": name, "kind": "slack", "url": f"${{secret:{name}-url}}"} for name in names]
    own = {"pipeline": "own", "task": "regression", "target": "y", "source": {"kind": "sample"}, "chat": channels}
    pipeline.write_text(yaml.safe_dump(own))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        stack_commands.stack, "up", lambda place, options, *_, **__: StackState(Process(1, ""), options)
    )

    assert stack_commands.up(options=WritingOptions(pipeline)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert line in printed
    assert printed.index(line) > printed.index("       end  make down")
    assert f"     model  none: requests get the default response. Train one: make run PIPELINE={pipeline}" in printed


def test_the_store_option_of_make_up_is_the_store_of_all_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIW_STORE", "/elsewhere")
    seen: dict[str, str] = {}

    def start(_: StackPaths, options: StackOptions, given: Mapping[str, str], *__: object, **___: object) -> StackState:
        seen.update(given)
        return StackState(Process(1, ""), options)

    monkeypatch.setattr(stack_commands.stack, "up", start)

    assert stack_commands.up(options=WritingOptions(store="runs")) == 0
    assert seen["AIW_STORE"] == str(tmp_path / "runs")
    assert f"Train one: make run STORE={tmp_path / 'runs'}" in capsys.readouterr().out
