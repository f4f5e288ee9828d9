"""A real server becomes what prefect.yaml says, once; and what people decide on it stays."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from ai_workflow.provisioning import bootstrap
from benchmarks import bootstrap as benchmark
from tests import prefect_retry, services
from tests.deploy import every_deployment
from tests.deploy.deploying_project import Place, furnish
from tests.deploy.every_deployment import Deployed
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import ROOT, Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LOGIN = "admin:s3cr3t-of-the-server"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A folder with this project's flows, and a server with login and CSRF protection."""
    folder = furnish(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", LOGIN)
        patch.setenv("PREFECT_API_AUTH_STRING", LOGIN)
        patch.setenv("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "2")
        login = temporary_settings({PREFECT_API_AUTH_STRING: LOGIN})
        with login, services.prefect_server(tmp_path_factory.mktemp("server")) as server:
            user, _, password = LOGIN.partition(":")
            with prefect_retry.client(server.api_url, auth=(user, password)) as api:
                yield Place(folder, api)


@pytest.fixture(scope="module")
def first(place: Place) -> list[str]:
    """What the first run did."""
    done = place.python("ai_workflow", "deploy", str(place.folder / "prefect.yaml"), INFERENCE_TOKEN="canary-2718")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def worker(place: Place) -> Iterator[Worker]:
    """A worker that has this project's package, and its flows only where it pulls them."""
    found = every_deployment.worker(every_deployment.furnish(Workplace(place.folder)), PYTHONPATH=str(ROOT / "src"))
    yield found
    found.kill()


def test_bootstrap_reports_changes_and_is_idempotent(place: Place, first: list[str]) -> None:
    for line in (
        "work pool ai-workflow: made, of type process",
        "work queue ai-workflow/first: made, priority 1",
        "deployment training/training: made",
        "block inference-token: made",
        "block type ChatChannel: made",
        "block webhook/alert-relay: made",
        "automation ai-workflow: run failed: made",
    ):
        assert line in first
    assert "canary-2718" not in str(first)
    assert place.bootstrap() == ["nothing changed"]
    queues = {
        one["name"]: one["priority"] for one in place.api.post("/work_pools/ai-workflow/queues/filter", json={}).json()
    }
    assert queues["first"] < queues["soon"] < queues["later"] < queues["default"]


def test_deployment_rejects_invalid_parameters_before_run(place: Place, first: list[str]) -> None:
    training = place.deployment("training")
    runs = f"/deployments/{training['id']}/create_flow_run"
    for nonsense in ({"log_level": "LOUD"}, {"no_such_parameter": 1}, {"overrides": 5}):
        assert place.api.post(runs, json={"parameters": nonsense}).status_code == 409
    assert not place.all("flow_runs", deployments={"id": {"any_": [training["id"]]}})
    good = place.api.post(runs, json={"parameters": {"log_level": "DEBUG"}})
    assert good.status_code == 201
    # Else the worker of later tests would train, while theirs wait.
    place.api.delete(f"/flow_runs/{good.json()['id']}").raise_for_status()
    assert training["description"].startswith("Train, judge and publish a model.")
    assert "Args" not in training["description"]
    assert "[model cards](/artifacts/key/sample-model-card)" in training["description"]
    assert training["version"]
    assert training["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_disabled_schedules_and_automations_stay_disabled(place: Place, first: list[str]) -> None:
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
        "automation ai-workflow: run late: changed, still disabled",
    ]
    assert place.deployment("recovery")["schedules"][0]["active"] is False
    assert place.bootstrap() == ["nothing changed"]
    # What is armed is not written, as that would disarm it.
    after = {one["id"]: one["updated"] for one in place.all("automations")}
    assert {one for one in after if after[one] != before[one]} == {late["id"]}


def test_concurrency_limit_missing_in_file_is_removed(place: Place, first: list[str]) -> None:
    address = f"/deployments/{place.deployment('retention')['id']}"
    place.api.patch(address, json={"concurrency_limit": 1}).raise_for_status()
    assert place.bootstrap() == ["deployment retention/retention: changed: concurrency_limit"]
    assert place.deployment("retention")["global_concurrency_limit"] is None
    assert place.bootstrap() == ["nothing changed"]


def test_invalid_block_is_reported_and_other_objects_are_created(place: Place, first: list[str]) -> None:
    place.api.patch(f"/deployments/{place.deployment('drill')['id']}", json={"description": "mine"}).raise_for_status()
    said = place.bootstrapped(ON_CALL_KIND="slack")
    assert (said.code, said.out) == (1, ["deployment drill/drill: changed: description"])
    assert "block 'on-call': also set ON_CALL_URL" in said.err
    assert "The rest is done; run this again" in said.err


def test_prefect_deploy_accepts_file(place: Place, first: list[str]) -> None:
    done = place.python("prefect", "--no-prompt", "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    deployed = Deployed(place.api)
    deployed.pause_schedules()
    named = {one["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert set(deployed.all()) == named
    assert all(line.startswith("deployment ") for line in place.bootstrap())


def test_worker_pulls_code_from_git(place: Place, first: list[str], worker: Worker, tmp_path: Path) -> None:
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    for name in ("flows", "config"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    drill = work / "flows" / "drill.py"
    drill.write_text(drill.read_text().replace("This is a drill", "This drill comes from git"))
    me = ("-c", "user.name=a test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    for command in (
        ("init", "-q", "-b", "release"),
        ("add", "."),
        (*me, "commit", "-qm", "all"),
        ("clone", "-q", "--bare", ".", bare),
    ):
        subprocess.run(["git", *command], cwd=work, check=True)
    (work / "prefect.yaml").write_text(
        (ROOT / "prefect.yaml").read_text().partition("\ndeployments:")[0]
        + """
deployments:
  - {name: from-git, entrypoint: "flows/drill.py:drill", tags: [ai-workflow], work_pool: *soon}
"""
    )
    from_git = (str(work / "prefect.yaml"), "--git", f"file://{bare}", "--ref", "release")
    assert "--take-over" in place.bootstrapped(*from_git).err
    said = place.bootstrapped(*from_git, "--take-over")
    assert [line for line in said.out if not line.startswith("owner: ")] == ["deployment drill/from-git: made"], (
        said.err
    )
    shutil.rmtree(work)
    deployed = Deployed(place.api)
    assert deployed.ended(deployed.start("from-git")) == "COMPLETED", worker.output()[-3000:]
    assert "This drill comes from git" in worker.output()
    assert deployed.all()["from-git"]["version"].endswith("+release")
    assert place.bootstrap("--take-over")[0].startswith("owner: ")


@pytest.mark.soak
def test_fifty_deployments_are_atomic_and_removed_entries_are_pruned(place: Place, first: list[str]) -> None:
    fifty = place.folder / "fifty.yaml"
    added = benchmark.write(fifty, 50)
    wrong = yaml.safe_load(fifty.read_text())
    wrong["deployments"].append(wrong["deployments"][-1] | {"name": "x", "tag": 1})
    (place.folder / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    refused = place.bootstrapped("wrong.yaml")
    assert refused.code == 2
    assert "deployment x: tag is not known" in refused.err
    assert not set(added) & {one["name"] for one in place.all("deployments")}

    assert {f"deployment scoring/{name}: made" for name in added} <= set(place.bootstrapped("fifty.yaml").out)
    assert place.bootstrapped("fifty.yaml").out == ["nothing changed"]

    flow_id = place.deployment("drill")["flow_id"]
    place.api.post("/deployments/", json={"name": "theirs", "flow_id": flow_id}).raise_for_status()
    [late] = [one for one in place.all("automations") if one["name"] == "ai-workflow: run late"]
    for name in ("ai-workflow: of old", "theirs"):
        asked = {key: late[key] for key in ("description", "enabled", "trigger", "actions")}
        place.api.post("/automations/", json={"name": name, **asked}).raise_for_status()
    # All but a few of them stay, as to remove one takes as long as to make it.
    few = set(added) - set(benchmark.write(place.folder / "fewer.yaml", 47))
    named = place.bootstrapped("fewer.yaml")
    assert named.out == ["nothing changed"]
    assert len(few) == 3
    gone = {"automation ai-workflow: of old", *(f"deployment scoring/{name}" for name in few)}
    assert {f"{one} is no longer in prefect.yaml. Pass --prune to remove it" for one in gone} <= set(
        named.err.splitlines()
    )
    assert "theirs" not in named.err
    assert {f"{one}: removed" for one in gone} <= set(place.bootstrapped("fewer.yaml", "--prune").out)
    assert place.bootstrapped("fewer.yaml", "--prune") == (0, ["nothing changed"], "")
    assert "theirs" in {one["name"] for one in place.all("deployments")}
    assert "theirs" in {one["name"] for one in place.all("automations")}


def test_bootstrap_without_login_names_missing_variable(place: Place, first: list[str]) -> None:
    with temporary_settings({PREFECT_API_AUTH_STRING: None}):
        nobody = place.bootstrapped()
    assert nobody.code == 2
    assert "PREFECT_API_AUTH_STRING" in nobody.err
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        nobody = place.bootstrapped()
    assert nobody.code == 2
    assert "does not answer" in nobody.err


def test_relay_token_updates_block_and_is_not_exposed(place: Place, first: list[str], tmp_path: Path) -> None:
    given = tmp_path / "relay.yaml"
    given.write_text(
        yaml.safe_dump({"relay": {"token": "${secret:relay-token}"}, "deploy": {"variables": {"site": "a"}}})
    )
    missing = place.bootstrapped(AIW_CONFIG=str(given))
    assert missing.code == 2
    assert "relay-token" in missing.err
    assert "RELAY_TOKEN" in missing.err
    done = place.bootstrap(AIW_CONFIG=str(given), RELAY_TOKEN="canary-8142")
    assert {"variable site: made", "block webhook/alert-relay: changed"} <= set(done)
    shown = [place.all(what) for what in ("automations", "deployments", "block_documents", "flow_runs")]
    assert "canary-8142" not in str([done, *shown])


def test_partial_bootstrap_failure_lists_done_and_pending_steps(
    place: Place, first: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> list[str]:
        request = httpx.Request("POST", "http://127.0.0.1:9/api/automations/")
        response = httpx.Response(403, json={"detail": "the plan has no room"}, request=request)
        raise PrefectHTTPStatusError.from_httpx_error(httpx.HTTPStatusError("", request=request, response=response))

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap.automation_sync, "apply", refuse)
        partial = place.bootstrapped()

    assert partial.code == 1
    assert "the plan has no room" in partial.err
    assert (
        "Done: variables, work pool, deployments, block webhook/alert-relay. Not done: automations. "
        "Run this again to continue" in partial.err
    )
    assert place.bootstrap() == ["nothing changed"]
