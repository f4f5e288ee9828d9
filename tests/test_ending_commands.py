"""A command that must end fails its test if it starts to serve, or never ends."""

from __future__ import annotations

import sys

import pytest

from tests import ending_commands

pytestmark = pytest.mark.integration


def test_output_and_exit_code_are_returned() -> None:
    done = ending_commands.run([sys.executable, "-c", "import sys; print('out'); sys.exit('err')"])

    assert (done.returncode, done.stdout, done.stderr) == (1, "out\n", "err\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_command_that_serves_fails(host: str) -> None:
    with pytest.raises(AssertionError, match="listens on a port"):
        ending_commands.run([sys.executable, "-m", "http.server", "--bind", host, "0"])


def test_command_that_does_not_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending_commands, "PATIENCE", 0.2)

    with pytest.raises(AssertionError, match="does not end"):
        ending_commands.run([sys.executable, "-c", "import time; time.sleep(600)"])
