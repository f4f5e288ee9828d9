"""On S3 a store behaves as on a local disk: each test has two processes that change the same files."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from typing import IO

import pytest

from ai_workflow.config.settings import Retention
from ai_workflow.errors import StoreError
from ai_workflow.registry import pruning, publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests import processes
from tests.registry_checks import FOLDER, is_sound
from tests.s3_server import s3_server

pytestmark = pytest.mark.slow
ONE = Retention(versions=1, min_age_hours=0)
# Another process: does as each line of its stdin says and answers with one line.
OTHER = """
    import contextlib, sys
    from ai_workflow.registry import leases, pruning, publication as publishing
    from ai_workflow.registry.registry import Registry
    from ai_workflow.storage.store import Store
    store = Store(sys.argv[1])
    registry = Registry(store, "models/development/credit")
    leases.HEARTBEAT_SECONDS = 0.5
    open_leases = contextlib.ExitStack()
    def publish():
        return publishing.publish(registry, {"model.txt": b"m", "card.md": b"c"}, "schema", {})
    def lease(name):
        open_leases.enter_context(registry.leased(name, "inference service"))
    for line in sys.stdin:
        answer = eval(line)
        print(answer, flush=True)
"""

UNREACHABLE = """
    import sys
    from ai_workflow.errors import StoreError
    from ai_workflow.storage.store import Store
    store = Store(sys.argv[1])
    for call in (
        lambda: store.read("a"), lambda: store.exists("a"), lambda: store.names("a"), lambda: list(store.files("a")),
        lambda: store.write("a", b""), lambda: store.write_new("a", b""), lambda: store.remove("a"),
    ):
        try:
            call()
        except StoreError as error:
            print(error)
"""


class Other:
    """A second process with the same store."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            processes.command(OTHER, url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def does(self, expression: str) -> str:
        """Evaluate an expression there and return its value as text."""
        self.asks(expression)
        return self.answers()

    def asks(self, expression: str) -> None:
        _pipe(self._process.stdin).write(f"{expression}\n")
        _pipe(self._process.stdin).flush()

    def answers(self) -> str:
        line = _pipe(self._process.stdout).readline()
        assert line, "the other process ended"
        return line.strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def other(url: str) -> Iterator[Other]:
    process = Other(url)
    yield process
    process.close()


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(Store(url), FOLDER)


def _publish(registry: Registry, count: int = 1) -> None:
    for _ in range(count):
        publication.publish(registry, {"model.txt": b"m" * 5000, "card.md": b"c" * 100}, "schema", {})


def test_changes_by_other_process_are_visible(url: str, other: Other) -> None:
    store = Store(url)
    store.write("a/one", b"1")
    assert store.names("a") == ["one"]
    assert not store.exists("a/two")
    other.does("store.write('a/two', b'2')")
    other.does("store.write('a/one', b'a longer one')")
    assert store.names("a") == ["one", "two"]
    assert store.read("a/one") == b"a longer one"
    assert sorted((path, size) for path, size, _ in store.files("a")) == [("a/one", 12), ("a/two", 1)]
    other.does("store.remove('a/one')")
    assert not store.exists("a/one")
    assert store.names("a") == ["two"]
    with pytest.raises(StoreError, match=r"a/one cannot be read: No such file"):
        store.read("a/one")


def test_overwrite_during_read_raises_store_error(url: str, other: Other) -> None:
    store = Store(url)
    store.write("big", b"1" * 100)
    with store.open("big") as file:
        other.does("store.write('big', b'2' * 90)")
        with pytest.raises(StoreError, match=r"/big cannot be read"):
            file.read()


def test_write_new_succeeds_for_first_writer_only(url: str, other: Other) -> None:
    store = Store(url)
    assert store.write_new("claim", b"mine")
    assert other.does("store.write_new('claim', b'theirs')") == "False"
    assert store.read("claim") == b"mine"


def test_unreachable_object_store_raises_store_error(url: str) -> None:
    variables = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    answers = processes.python(UNREACHABLE, url, **variables).splitlines()
    assert len(answers) == 7
    for answer in answers:
        assert f"{url}/a cannot be " in answer
        assert "http://127.0.0.1:9" in answer
        assert answer.endswith("Check that the object store is reachable and that these credentials may use it")


def test_concurrent_publish_from_two_processes_succeeds(registry: Registry, other: Other) -> None:
    registry.versions()
    for _ in range(5):
        other.asks("publish() and 'published'")
        _publish(registry)
        assert other.answers() == "published"
    assert len(registry.versions()) == 10
    is_sound(registry)


def test_concurrent_pins_from_two_processes_are_kept(registry: Registry, other: Other) -> None:
    _publish(registry, 2)
    other.does("registry.versions()")
    for number in range(5):
        other.asks(f"pruning.pin(registry, 'model_v1.1', 'b{number}')")
        pruning.pin(registry, "model_v1.0", f"a{number}")
        assert other.answers() == "model_v1.1"
    assert registry.state().pins == {"model_v1.0": "a4", "model_v1.1": "b4"}
    is_sound(registry)


def test_version_pinned_after_plan_is_not_deleted(registry: Registry, other: Other) -> None:
    _publish(registry, 3)
    approved = [item.name for item in pruning.plan(registry, ONE) if not item.is_kept]
    assert approved == ["model_v1.1"]
    other.does("pruning.pin(registry, 'model_v1.1', 'audit')")
    done = pruning.prune(registry, ONE, approved, "approved")
    assert done.deleted == ()
    assert [reason for item in done.skipped for reason in item.reasons] == ["pinned: audit"]


def test_approved_plan_applies_after_registry_change(registry: Registry, other: Other) -> None:
    _publish(registry, 3)
    approved = [item.name for item in pruning.plan(registry, ONE) if not item.is_kept]
    other.does("publish()")
    assert [item.name for item in pruning.prune(registry, ONE, approved, "approved").deleted] == ["model_v1.1"]
    assert other.does("registry.versions()") == "['model_v1.0', 'model_v1.2', 'model_v1.3']"


def test_lease_of_running_service_is_kept(registry: Registry, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_workflow.registry.leases.HEARTBEAT_SECONDS", 1.0)
    _publish(registry, 3)
    # Its clock is wrong, so that its heartbeats alone show that it lives.
    other.does("setattr(leases, 'time', type('Clock', (), {'time': staticmethod(lambda: 5.0)}))")
    other.does("lease('model_v1.1')")
    assert list(registry.leases.holders()) == ["model_v1.1"]
    assert pruning.prune(registry, ONE, ["model_v1.1"], "approved").deleted == ()
    assert len(registry.store.names(registry.leases.folder)) == 1
    other.does("open_leases.close()")
    assert [item.name for item in pruning.prune(registry, ONE, ["model_v1.1"], "approved").deleted] == ["model_v1.1"]
