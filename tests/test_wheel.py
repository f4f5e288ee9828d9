"""The wheel in an environment of its own, outside of the checkout: every command works, and no other name is taken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).with_name("uv"))
LISTENING = {"serve": r"listening on", "exporter": r"listening on|metrics on", "relay": r"listening on"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Installed:
    """An environment with the wheel, and a folder that commands run in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder / "empty", folder / "env" / "bin"
        self.folder.mkdir()
        locked = re.findall(r"^[\w.-]+==.*?(?= \\$)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join(locked))
        _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
        _run([UV, "venv", "--quiet", "--python", sys.executable, str(folder / "env")], folder)
        [wheel] = folder.glob("*.whl")
        _run(
            [UV, "pip", "install", "--quiet", "--python", str(self.bin / "python"), "-c", str(constraints), str(wheel)],
            folder,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this machine's configuration, and no program of the checkout."""
        return {"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "DO_NOT_TRACK": "1"}

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of the installed program."""
        return [str(self.bin / "ai-workflow"), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    found = Installed(tmp_path_factory.mktemp("wheel"))
    yield found
    found.run("stop")


def test_wheel_installs_only_own_import_name(installed: Installed) -> None:
    code = "import importlib.metadata as m; print(*sorted({f.parts[0] for f in m.files('ai-workflow')}))"
    names = _run([str(installed.bin / "python"), "-c", code], installed.folder).split()
    assert [name for name in names if not name.endswith(".dist-info")] == ["..", "ai_workflow"]


def test_installed_wheel_checks_configuration(installed: Installed) -> None:
    checked = installed.run("config", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("configuration ok: pipeline sample")


def test_installed_wheel_runs_pipeline_end_to_end(installed: Installed) -> None:
    ran = installed.run("run")
    assert ran.returncode == 0, ran.stderr
    assert "model_v1.0 published as latest" in ran.stdout
    assert list(installed.folder.glob("var/predictions/sample/model_v1.0/*/manifest.json"))


@pytest.mark.parametrize("name", LISTENING)
def test_installed_server_starts_and_stops_on_sigterm(installed: Installed, name: str) -> None:
    with subprocess.Popen(
        installed.command(name, "--port", "0"), cwd=installed.folder, env=installed.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as server:  # fmt: skip
        assert server.stdout
        lines = []
        for line in server.stdout:
            lines.append(line)
            if re.search(LISTENING[name], line):
                break
        server.send_signal(signal.SIGTERM)
        lines.append(server.stdout.read())
    assert server.returncode == 0, "".join(lines)


def test_installed_wheel_builds_alert_rules(installed: Installed) -> None:
    built = installed.run("slo", "build", "--out", "generated")
    assert built.returncode == 0, built.stderr
    own = {path.name: path.read_text() for path in (ROOT / "monitoring/generated/prometheus/rules").iterdir()}
    assert {path.name: path.read_text() for path in (installed.folder / "generated/prometheus/rules").iterdir()} == own


def test_message_catalogues_are_in_the_wheel(installed: Installed) -> None:
    code = (
        "from ai_workflow.alerting.messages import catalogue as c; print(c.load('en').resolved, c.load('zh').resolved)"
    )
    assert _run([str(installed.bin / "python"), "-c", code], installed.folder) == "RESOLVED 已恢复\n"


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
