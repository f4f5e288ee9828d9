"""The programs that the container test needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy import podman

CI = Path(__file__).parents[2] / ".ci" / "run"


def test_missing_podman_skips_with_install_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(pytest.skip.Exception, match=r"no podman.*: apt-get install .*podman runc debootstrap"):
        podman.running().__enter__()


def test_ci_installs_container_tools() -> None:
    text = CI.read_text()

    assert [package for package in podman.PACKAGES.values() if f"|| echo {package}\n" not in text] == []
