"""A real server becomes what prefect.yaml says, once; and what people decide on it stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import services
from tests.flows.workplace import ROOT

pytestmark = pytest.mark.slow
LOGIN = "admin:s3cr3t-of-the-server"


@dataclass(frozen=True)
class Place:
    """A folder to deploy from, with a server of its own that asks for a login."""

    folder: Path
    api: httpx.Client

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a module against the server."""
        environment = os.environ | {"AIW_STORE": str(self.folder / "var"), "AIW_ROOT": str(ROOT)}
        environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", **variables}
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=100, check=False,
        )  # fmt: skip

    def bootstrap(self, *arguments: str, **variables: str) -> list[str]:
        """Run it, and return what it says was done."""
        done = self.python("deploy.bootstrap", str(self.folder / "prefect.yaml"), *arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def all(self, what: str, **asked: Any) -> list[dict[str, Any]]:
        """Return every record of a kind."""
        reply = self.api.post(f"/{what}/filter", json=asked)
        reply.raise_for_status()
        found: list[dict[str, Any]] = reply.json()
        return found

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment by its name."""
        return next(one for one in self.all("deployments") if one["name"] == name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A folder with this project's flows, and a server with login and CSRF protection."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("flows", "config"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", LOGIN)
        patch.setenv("PREFECT_API_AUTH_STRING", LOGIN)
        with services.prefect_server(tmp_path_factory.mktemp("server")) as server:
            user, _, password = LOGIN.partition(":")
            with httpx.Client(base_url=server.api_url, auth=(user, password), trust_env=False, timeout=30) as api:
                yield Place(folder, api)


@pytest.fixture(scope="module")
def first(place: Place) -> list[str]:
    """What the first run did."""
    return place.bootstrap(RELAY_TOKEN="t")


def test_it_says_all_that_it_did_and_nothing_the_second_time(place: Place, first: list[str]) -> None:
    for line in (
        "work pool ai-workflow: made, of type process",
        "work queue ai-workflow/first: made, priority 1",
        "deployment training/training: made",
        "block webhook/alert-relay: made",
        "automation ai-workflow: run failed: made",
    ):
        assert line in first
    assert place.bootstrap() == ["nothing changed"]
    queues = {
        one["name"]: one["priority"] for one in place.api.post("/work_pools/ai-workflow/queues/filter", json={}).json()
    }
    assert queues["first"] < queues["soon"] < queues["later"] < queues["default"]


def test_the_form_of_a_deployment_refuses_nonsense_before_a_run(place: Place, first: list[str]) -> None:
    training = place.deployment("training")
    runs = f"/deployments/{training['id']}/create_flow_run"
    for nonsense in ({"log_level": "LOUD"}, {"no_such_parameter": 1}, {"overrides": 5}):
        assert place.api.post(runs, json={"parameters": nonsense}).status_code == 409
    assert not place.all("flow_runs", deployments={"id": {"any_": [training["id"]]}})
    good = place.api.post(runs, json={"parameters": {"log_level": "DEBUG"}})
    assert good.status_code == 201
    assert training["description"].startswith("Train, judge and publish a model.")
    assert "Args" not in training["description"]
    assert training["version"]
    assert training["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_what_a_person_has_switched_off_stays_off(place: Place, first: list[str]) -> None:
    recovery = place.deployment("recovery")
    [schedule] = recovery["schedules"]
    place.api.patch(
        f"/deployments/{recovery['id']}/schedules/{schedule['id']}", json={"active": False}
    ).raise_for_status()
    [late] = [one for one in place.all("automations") if one["name"] == "ai-workflow: run late"]
    place.api.patch(f"/automations/{late['id']}", json={"enabled": False}).raise_for_status()
    # And where something else of theirs has changed.
    place.api.patch(f"/deployments/{recovery['id']}", json={"description": "mine"}).raise_for_status()
    trigger = {**late["trigger"], "within": 60}
    place.api.put(
        f"/automations/{late['id']}",
        json={**{key: late[key] for key in ("name", "description", "actions")}, "enabled": False, "trigger": trigger},
    ).raise_for_status()
    before = {one["id"]: one["updated"] for one in place.all("automations")}
    assert place.bootstrap() == [
        "deployment recovery/recovery: changed: description",
        "automation ai-workflow: run late: changed, and still switched off",
    ]
    assert place.deployment("recovery")["schedules"][0]["active"] is False
    assert place.bootstrap() == ["nothing changed"]
    # What is armed is not written, as that would disarm it.
    after = {one["id"]: one["updated"] for one in place.all("automations")}
    assert {one for one in after if after[one] != before[one]} == {late["id"]}


def test_prefects_own_deploy_takes_the_file_too(place: Place, first: list[str]) -> None:
    done = place.python("prefect", "--no-prompt", "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    changed = {line.split(":")[0] for line in place.bootstrap()}
    assert all(line.startswith("deployment ") for line in changed)


def test_fifty_deployments_take_no_minute_and_nothing_half_is_deployed(place: Place, first: list[str]) -> None:
    file = place.folder / "prefect.yaml"
    before = file.read_text()
    whole = yaml.safe_load(before)
    usual = whole["deployments"][1]
    whole["deployments"] += [usual | {"name": f"scoring-{number}"} for number in range(42)]
    try:
        file.write_text(
            yaml.safe_dump(whole | {"deployments": [*whole["deployments"], usual | {"name": "x", "tag": 1}]})
        )
        refused = place.python("deploy.bootstrap", str(file))
        assert refused.returncode == 1
        assert "deployment x: tag is not known" in refused.stderr
        assert not any(one["name"].startswith("scoring-") for one in place.all("deployments"))

        file.write_text(yaml.safe_dump(whole))
        began = time.monotonic()
        assert len(place.bootstrap()) == 42
        again = time.monotonic()
        assert place.bootstrap() == ["nothing changed"]
        print(f"50 deployments: {again - began:.1f} s, again: {time.monotonic() - again:.1f} s")
    finally:
        file.write_text(before)


def test_without_the_login_it_says_which_variable_is_missing(place: Place, first: list[str]) -> None:
    done = place.python("deploy.bootstrap", "prefect.yaml", PREFECT_API_AUTH_STRING="")
    assert done.returncode == 1
    assert "PREFECT_API_AUTH_STRING" in done.stderr
    assert "Traceback" not in done.stderr
    nobody = place.python("deploy.bootstrap", "prefect.yaml", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert nobody.returncode == 1
    assert "does not answer" in nobody.stderr


def test_the_relays_token_changes_its_block_and_is_nowhere_shown(
    place: Place, first: list[str], tmp_path: Path
) -> None:
    given = tmp_path / "relay.yaml"
    given.write_text(
        yaml.safe_dump({"relay": {"token": "${secret:relay-token}"}, "deploy": {"variables": {"site": "a"}}})
    )
    missing = place.python("deploy.bootstrap", "prefect.yaml", AIW_CONFIG=str(given))
    assert missing.returncode == 1
    assert "relay-token" in missing.stderr
    assert "RELAY_TOKEN" in missing.stderr
    done = place.bootstrap(AIW_CONFIG=str(given), RELAY_TOKEN="canary-8142")
    assert {"variable site: made", "block webhook/alert-relay: changed"} <= set(done)
    shown = [place.all(what) for what in ("automations", "deployments", "block_documents", "flow_runs")]
    assert "canary-8142" not in str([done, *shown])
