"""Shared fixtures, the levels of tests (unit, integration, e2e), and the rule that a skip in CI is a failure."""

from __future__ import annotations

import functools
import gc
import os
import re
import sys
import tempfile
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from ai_workflow.config import reader as config_reader
from ai_workflow.local.server import Server
from tests import object_store, services

NO_SKIPS = "AIW_NO_SKIPS"
UNIT = "unit"
_LAST_LINES = 15
_LEVELS = ("integration", "e2e", "slow", "soak", "kill", "gpu")
_NO_UNIT_TESTS = re.compile(rf"^pytestmark = .*\b(?:{'|'.join(_LEVELS)})\b", re.MULTILINE)
_STARTS = {
    "subprocess.Popen": "a process",
    "os.fork": "a process",
    "os.posix_spawn": "a process",
    "socket.bind": "a server",
}
# The files of `make test-slow` and `make check-kill` that take minutes. They start first, so that none is left for the
# end, where one process would run it alone.
_LONG_FILES = (
    "tests/kill/test_at_random.py",
    "tests/kill/test_training_flow.py",
    "tests/kill/test_damage.py",
    "tests/deploy/test_containers_run.py",
    "tests/flows/test_own_code.py",
    "tests/deploy/test_stack_life.py",
    "tests/deploy/test_outages.py",
    "tests/flows/test_caching.py",
    "tests/deploy/test_stack_ui.py",
    "tests/deploy/test_server.py",
    "tests/monitoring/test_faults_reach_chat.py",
    "tests/deploy/test_pipelines_on_server.py",
    "tests/test_wheel.py",
    "tests/deploy/test_automations.py",
    "tests/test_guards.py",
    "tests/test_memory.py",
)
# A file whose tests share nothing that takes long: this many processes run it.
_PARTS = {"tests/test_guards.py": 3, "tests/kill/test_at_random.py": 2}
_unit_test: list[str] = []
_earlier_threads: set[int | None] = set()

# Tests touch neither the Prefect home of the person who runs them, nor a server of theirs, nor start one unasked.
# A make that runs the tests passes its own variables on to each make that a test starts.
for _name in [name for name in os.environ if name.startswith("PREFECT_") or name in ("MAKEFLAGS", "MAKEOVERRIDES")]:
    del os.environ[_name]
# A busy machine breaks any deadline of a single example.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")
object_store.register()
_prefect_home = tempfile.TemporaryDirectory(prefix="prefect-home-")
os.environ |= {
    "PREFECT_HOME": _prefect_home.name,
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "DO_NOT_TRACK": "1",
    # Nor do they read the `.env` of the checkout.
    "AIW_ENV_FILE": "",
}


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One Prefect server for the whole session; this process and its children use it."""
    with services.prefect_server(tmp_path_factory.mktemp("prefect-server")) as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> Iterator[services.Postgres]:
    """One PostgreSQL server for the whole session."""
    with services.postgres() as found:
        yield found


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The path of a Chromium."""
    return services.chromium()


class _ByFile(LoadScopeScheduling):
    """Keeps the tests of a file in one process, and the few quick ones of `tests/kill`: their fixtures take long."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if parts := _PARTS.get(file):
            return f"{file} {zlib.crc32(nodeid.encode()) % parts}"
        is_whole = self.config.option.markexpr == "kill"
        return "tests/kill" if file.startswith("tests/kill/") and not is_whole else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Hand tests to processes so, whatever `--dist` says: xdist's own groups do not work with this pytest."""
    return _ByFile(config, log)


class _FailuresAtOnce:
    """Prints each failure at once: a run that exceeds the time limit of CI prints no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if report.failed and terminal:
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)")
            terminal.write_line("\n".join(report.longreprtext.splitlines()[-_LAST_LINES:]))


def pytest_configure(config: pytest.Config) -> None:
    """Print failures at once in CI. In unit tests do not wait for the disk, and parse equal configurations once."""
    if config.option.markexpr == UNIT:
        os.fsync = lambda fd: None
        config_reader._compose = functools.lru_cache(64)(config_reader._compose)
    if os.environ.get(NO_SKIPS):
        config.pluginmanager.register(_FailuresAtOnce(config))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import modules without unit tests for `-m unit`: their imports take longer than the unit tests."""
    if config.option.markexpr == UNIT and collection_path.suffix == ".py":
        return bool(_NO_UNIT_TESTS.search(collection_path.read_text())) or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the long files of the slow suites first; the order within a file stays."""
    if config.option.markexpr.startswith(("slow", "kill")):
        order = {file: number for number, file in enumerate(_LONG_FILES)}
        items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while modules are imported, and never look at what they hold: almost all of it stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with its level: e2e if it needs a Prefect server or a browser, unit if it is in no other level."""
    fixtures = getattr(item, "fixturenames", ())
    if "postgres" in fixtures:
        item.add_marker("integration")
    if "prefect_server" in fixtures or item.get_closest_marker("kill") or item.get_closest_marker("browser"):
        item.add_marker("e2e")
    if not any(item.get_closest_marker(level) for level in _LEVELS):
        item.add_marker(UNIT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Let a unit test start neither a process nor a server."""
    with _without_starts(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The same. When it is torn down, fixtures that it does not use may end."""
    with _without_starts(item):
        return (yield)


@contextmanager
def _without_starts(item: pytest.Item) -> Iterator[None]:
    if item.get_closest_marker(UNIT):
        _unit_test.append(item.nodeid)
        _earlier_threads.update(thread.ident for thread in threading.enumerate())
        _earlier_threads.discard(threading.get_ident())
    try:
        yield
    finally:
        _unit_test.clear()
        _earlier_threads.clear()


def _refuse_starts(event: str, _: object) -> None:
    if _unit_test and event in _STARTS and threading.get_ident() not in _earlier_threads:
        raise RuntimeError(f"{_unit_test[0]} starts {_STARTS[event]}. Mark it with pytest.mark.integration.")


sys.addaudithook(_refuse_starts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where `AIW_NO_SKIPS` is set; an expected failure stays one."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get(NO_SKIPS) and report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{NO_SKIPS} is set, and this was skipped: {reason}"
