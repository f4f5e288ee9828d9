"""The image of deploy/Dockerfile built as the documentation says, and the stack of compose.yaml run from it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml
from cryptography.fernet import Fernet

from tests.deploy import compose, debian_base, dockerfile
from tests.deploy import container_programs as programs
from tests.deploy.compose_containers import Composed
from tests.deploy.podman import Podman, running

ROOT = Path(__file__).parents[2]
BASE = "localhost/base:test"
MAX_IMAGE_MEGABYTES = 800
GUARDS = ("prometheus-guard", "alertmanager-guard")
# The parts with a port. Bootstrap ends by itself, and Prefect sees whether the worker runs.
CHECKED = ("server", "service", "exporter", "relay", *GUARDS)
RUNNING = (*CHECKED, "worker")
# uvicorn ends as the signal says once it has finished; the others have nothing left to do, which is success.
SIGTERM_CODES = dict.fromkeys(("server", *GUARDS), 143)
# Files that must not reach the image, whatever is in the folder that it is built from.
UNWANTED = (
    ".env",
    "deploy/.env",
    "config/.env.production",
    "var/prefect/prefect.db",
    "tests/conftest.py",
    ".git/config",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with running() as found:
        found.import_base(debian_base.archive(), BASE)
        yield found


@pytest.fixture(scope="module")
def built(podman: Podman) -> str:
    """What the build printed."""
    context = podman.folder / "context"
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".*", "var", "__pycache__", "tests"))
    for name in UNWANTED:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text("unwanted")
    # As a checkout is under `umask 077`: the parts do not run as its owner.
    subprocess.run(["chmod", "--recursive", "go-rwx", context], check=True)
    (command,) = re.findall(r"^podman build (.+)$", (ROOT / "docs/containers.md").read_text(), flags=re.MULTILINE)
    return podman.build(context, shlex.split(command), BASE)


@pytest.fixture(scope="module")
def image(podman: Podman, built: str) -> dict[str, Any]:
    """What podman knows of the image."""
    name = Composed.image(compose.filled(dict.fromkeys(compose.required(), "unused"))["services"]["service"])
    found: dict[str, Any] = json.loads(podman.run("image", "inspect", name).stdout)[0]
    return found


@pytest.fixture(scope="module")
def stack(podman: Podman, image: dict[str, Any]) -> Composed:
    """The services that do not wait for others, healthy."""
    variables = {name: f"{name.lower().replace('_', '-')}-0815" for name in compose.required()}
    variables |= {"PREFECT_LOGIN": "operator:login-0815", "PREFECT_ENCRYPTION_KEY": Fernet.generate_key().decode()}
    site = podman.folder / "site"
    shutil.copytree(ROOT / "deploy/site", site)
    subprocess.run(["chmod", "--recursive", "a+rX", site], check=True)
    variables["AIW_SITE"] = str(site)
    found = Composed(podman, BASE, variables, "sqlite+aiosqlite:////var/lib/ai-workflow/prefect/prefect.db")
    for name in ("server", "service", "relay"):
        found.start(name)
    for name in ("server", "service", "relay"):
        found.until_healthy(name)
    return found


@pytest.fixture(scope="module")
def bootstrapped(stack: Composed) -> list[list[str]]:
    """What bootstrap printed the first and the second time."""
    return [stack.once("bootstrap"), stack.once("bootstrap")]


@pytest.fixture(scope="module")
def trained(stack: Composed, bootstrapped: list[list[str]]) -> Composed:
    """The stack after one training."""
    for name in ("worker", "exporter", *GUARDS):
        stack.start(name)
    stack.until_healthy("exporter")
    stack.execute("worker", "prefect", "deployment", "run", "training/training", "--watch")
    return stack


def test_build_has_no_warnings(built: str) -> None:
    assert [line for line in built.splitlines() if re.search(r"\bwarn(ing)?\b", line, flags=re.IGNORECASE)] == []


def test_image_size_is_within_limit(image: dict[str, Any]) -> None:
    assert image["Size"] / 1e6 < MAX_IMAGE_MEGABYTES


def test_image_health_check_matches_dockerfile(image: dict[str, Any]) -> None:
    (written,) = [each.said for each in dockerfile.read() if each.name == "HEALTHCHECK"]

    assert image["Healthcheck"]["Test"] == ["CMD", *json.loads(written.partition("CMD ")[2])]


def test_image_excludes_dockerignored_files(podman: Podman, image: dict[str, Any]) -> None:
    listed = podman.run(
        "run", "--rm", "--network=none", "--entrypoint=find", image["Id"], "/opt/ai-workflow", "-type", "f"
    )
    files = {line.removeprefix("/opt/ai-workflow/") for line in listed.stdout.splitlines()}

    assert "flows/training.py" in files
    assert files & set(UNWANTED) == set()


def test_bootstrap_is_idempotent(bootstrapped: list[list[str]]) -> None:
    first, second = bootstrapped

    assert "deployment training/training: made" in first
    assert second == ["nothing changed"]


def test_worker_trains_and_service_serves_published_version(trained: Composed) -> None:
    trained.until_serving("model_v1.0")
    found = trained.python("service", programs.PREDICTION)

    assert (found["model_version"], found["fallback"]) == ("model_v1.0", False)
    assert found["predictions"]


def test_exporter_exports_published_version(trained: Composed) -> None:
    assert 'model_version="model_v1.0"' in trained.python("exporter", programs.METRICS)


@pytest.mark.parametrize("name", CHECKED)
def test_container_health_check_succeeds(name: str, trained: Composed) -> None:
    trained.until_healthy(name)


@pytest.mark.parametrize("name", RUNNING)
def test_container_processes_have_no_privileges(name: str, trained: Composed) -> None:
    processes = trained.python(name, programs.PROCESSES)

    assert {"tini"} < {process["Name"][0] for process in processes}
    for process in processes:
        assert set(process["Uid"] + process["Gid"]) == {"10001"}, process
        assert (process["CapEff"], process["CapBnd"]) == (["0" * 16], ["0" * 16]), process
        assert process["NoNewPrivs"] == ["1"], process


@pytest.mark.parametrize("name", RUNNING)
def test_only_store_and_tmp_are_writable(name: str, trained: Composed) -> None:
    folders = {"/tmp"} if name == "exporter" else {"/var/lib/ai-workflow", "/tmp"}

    assert set(trained.python(name, programs.WRITABLE)) == folders


def test_server_log_has_no_schedule_error(trained: Composed) -> None:
    assert "Error scheduling" not in trained.log("server")


def test_login_container_writes_readable_web_config(stack: Composed) -> None:
    assert stack.once("login") == []

    path = stack.volume("login") / "web.yml"
    (hashed,) = yaml.safe_load(path.read_text())["basic_auth_users"].values()
    assert bcrypt.checkpw(stack.services["login"]["environment"]["MONITORING_PASSWORD"].encode(), hashed.encode())
    assert [place.stat().st_mode & 0o005 for place in (path.parent, path)] == [0o005, 0o004]


@pytest.mark.parametrize("name", ["worker", *CHECKED[1:], "server"])
def test_sigterm_stops_container_in_time(name: str, trained: Composed) -> None:
    assert trained.stop(name)["ExitCode"] == SIGTERM_CODES.get(name, 0), trained.log(name)[-4000:]


@pytest.mark.soak
def test_podman_test_leaves_no_files_or_processes() -> None:
    with running() as podman:
        podman.import_base(debian_base.archive(), BASE)
        for name, network in (("first", "none"), ("second", "container:first"), ("third", "container:first")):
            podman.run("run", "--detach", "--name", name, "--network", network, BASE, "sleep", "infinity")
        assert podman.processes()

    assert not podman.folder.exists()
    assert podman.processes() == []
