"""A second `make up` while the stack runs: what has changed since its start is named, and no value is shown."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import yaml

from ai_workflow.local.process import Process, start_time
from ai_workflow.local.stack import fingerprint, launch
from ai_workflow.local.stack import stack as stacks
from ai_workflow.local.stack.paths import StackOptions, StackPaths, StackState
from ai_workflow.local.stack.preflight import StackError

OWN = {
    "pipeline": "own", "task": "regression", "target": "y", "source": {"kind": "sample"},
    "trainer": {"params": {"num_leaves": 7}}, "relay": {"token": "${secret:relay-token}"},
    "chat": [{"name": "a", "kind": "webhook", "url": "https://canary-1.example/x", "secret": "${secret:team-key}"}],
}  # fmt: skip
GIVEN = {"PATH": os.defpath, "RELAY_TOKEN": "canary-2", "TEAM_KEY": "canary-3", "PREFECT_LOGIN": "a:canary-4"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(OWN))
    return path


@pytest.fixture
def place(tmp_path: Path, pipeline: Path) -> StackPaths:
    """A folder with the record of a stack; this process stands for its process manager."""
    place, options = StackPaths(tmp_path / "var"), StackOptions(config=str(pipeline))
    place.folder.mkdir(parents=True)
    manager = Process(os.getpid(), start_time(os.getpid()) or "")
    place.write_state(StackState(manager, options, fingerprint.of(launch.loaded(options), GIVEN)))
    return place


def up(place: StackPaths, pipeline: Path, **changed: str) -> StackState:
    return stacks.up(place, StackOptions(config=str(pipeline)), GIVEN | changed, print)


def refused(place: StackPaths, pipeline: Path, **changed: str) -> str:
    with pytest.raises(StackError) as caught:
        up(place, pipeline, **changed)
    return str(caught.value)


def said(names: str) -> str:
    return f"it runs already, with other values of {names}. Nothing was changed. Run make down, then make up"


@pytest.mark.integration
def test_unchanged_settings_keep_stack_running(place: StackPaths, pipeline: Path) -> None:
    started = place.running_state()
    assert up(place, pipeline) == started
    # The session of the user, clients of the server, the file of variables, and an empty variable.
    for name in ("TERM", "PWD", "MAKEFLAGS", "SSH_TTY", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "AIW_ENV_FILE"):
        assert up(place, pipeline, **{name: "other"}) == started
    assert up(place, pipeline, DATABASE_PASSWORD="") == started
    pipeline.write_text(f"# a comment\n{json.dumps(OWN)}")
    assert up(place, pipeline) == started


@pytest.mark.integration
@pytest.mark.parametrize(
    "name", ["RELAY_TOKEN", "TEAM_KEY", "PREFECT_LOGIN", "MONITORING_PASSWORD", "ON_CALL_URL", "AIW_ALLOWED_ORIGINS",
             "AWS_SESSION_TOKEN", "HTTPS_PROXY", "PREFECT_WORKER_QUERY_SECONDS", "SSL_CERT_FILE"],
)  # fmt: skip
def test_changed_variable_is_reported_without_value(name: str, place: StackPaths, pipeline: Path) -> None:
    assert refused(place, pipeline, **{name: "canary-5"}) == said(name)
    if name in GIVEN:
        assert refused(place, pipeline, **{name: ""}) == said(name)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"trainer": {"params": {"num_leaves": 8}}}, "trainer.params.num_leaves"),
        ({"trainer": {"steps": 9}}, "trainer.params.num_leaves, trainer.steps"),
        ({"chat": []}, "chat"),
        ({"chat": [OWN["chat"][0] | {"url": "https://canary-6.example/x"}]}, "chat"),  # type: ignore[index]
        ({"relay": {"token": "canary-7"}}, "relay.token"),
        ({"schema": {"x": {"type": "number"}}}, "schema.x.type"),
    ],
)
def test_changed_setting_is_reported_without_value(
    changes: dict[str, object], names: str, place: StackPaths, pipeline: Path
) -> None:
    pipeline.write_text(yaml.safe_dump(OWN | changes))
    message = refused(place, pipeline)
    assert all(name in message for name in names.split(", "))
    assert "canary" not in message
    if "schema" not in changes:
        assert message == said(names)


def test_changed_options_are_reported_by_make_variable(place: StackPaths) -> None:
    with pytest.raises(StackError) as caught:
        stacks.up(place, StackOptions(environment="production", postgresql=True, offset=9), GIVEN, print)
    assert str(caught.value) == said("CONFIG, ENVIRONMENT, DB, OFFSET")


def test_long_change_list_is_truncated_and_counted(place: StackPaths, pipeline: Path) -> None:
    message = refused(place, pipeline, **{f"AWS_{number}": "x" for number in range(25)})
    assert message.count("AWS_") == 20
    assert " and 5 more. " in message


def test_stack_record_is_private_and_contains_no_secret(place: StackPaths) -> None:
    record = place.folder / "stack.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert "canary" not in record.read_text()
    options = StackOptions(config=json.loads(record.read_text())["options"]["config"])
    first, second = (fingerprint.of(launch.loaded(options), GIVEN) for _ in range(2))
    # Without the key of the stack, a digest tells nothing about a value: neither a dictionary nor another stack does.
    assert first.digests["RELAY_TOKEN"] != second.digests["RELAY_TOKEN"]
    assert "canary" not in repr(first)
    assert first.key not in repr(first)


def test_stack_record_of_earlier_release_is_accepted(place: StackPaths, pipeline: Path) -> None:
    record = place.folder / "stack.json"
    kept = json.loads(record.read_text())
    del kept["fingerprint"]
    record.write_text(json.dumps(kept))
    assert up(place, pipeline, RELAY_TOKEN="other").fingerprint is None
