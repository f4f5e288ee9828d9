"""The wheel in an environment of its own, outside of the checkout: every command works, and no other name is taken."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml

from tests.flows import sample_tables

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

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip


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


@pytest.mark.soak
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


@pytest.fixture(scope="module")
def team(installed: Installed) -> Iterator[Path]:
    """A project of a team, with a pipeline for its table and code of its own."""
    folder = installed.folder / "team"
    made = installed.run("init", str(folder))
    assert made.returncode == 0, made.stderr
    sample_tables.write(folder / "credit.csv", sample_tables.rows())
    added = installed.run("pipeline", "add", "credit", "--from", "credit.csv", "--target", "good", cwd=folder)
    assert added.returncode == 0, added.stdout + added.stderr
    pipeline = folder / "pipelines/credit/pipeline.yaml"
    shutil.copy(ROOT / "docs/examples/sgd.py", pipeline.with_name("models.py"))
    pipeline.with_name("features.py").write_text("def decade(rows):\n    return rows.age // 10\n")
    pipeline.with_name("metrics.py").write_text(
        "def hits(target, prediction):\n    return (target == prediction).sum()\n"
    )
    pipeline.with_name("cleaning.py").write_text("def keep_known(rows):\n    return rows[rows.age.notna()]\n")
    settings = yaml.safe_load(pipeline.read_text()) | {
        "stages": {"after": {"data_loader": ["credit.cleaning:keep_known"]}},
        "features": {"derive": ["credit.features:decade"]},
        "trainer": {"kind": "credit.models:Trainer", "steps": 1500, "checkpoint": {"every_steps": 50}},
        "evaluate": {"metrics": ["credit.metrics:hits"], "minimum": 0.6},
    }
    pipeline.write_text(yaml.safe_dump(settings))
    yield folder
    installed.run("stop", cwd=folder)


def test_project_of_a_team_trains_serves_and_resumes_with_its_own_code(installed: Installed, team: Path) -> None:
    ran = installed.run("run", "--pipeline", "credit", cwd=team)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    version = team / "var/models/development/credit/model_v1.0"
    assert "credit.metrics:hits" in (version / "manifest.json").read_text()
    [part] = team.glob("var/predictions/credit/model_v1.0/*/part-*.parquet")
    known = [row for row in sample_tables.rows() if row[1]]
    assert re.search(rf"keep_known +\| SUCCESS +\| {len(known)} records kept, {150 - len(known)} dropped", ran.stdout)
    rows = [dict(zip(sample_tables.HEADER[:4], row[:4], strict=True)) for row in known]
    assert _scores(installed, team, rows) == pd.read_parquet(part)["score"].tolist()

    killed = ["run", "--pipeline", "credit", "--store", "killed"]
    with subprocess.Popen(
        installed.command(*killed), cwd=team, env=installed.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    ) as running:  # fmt: skip
        while running.poll() is None and not list(team.glob("killed/checkpoints/*/*/model_step_*.json")):
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    resumed = installed.run(*killed, cwd=team)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert re.search(r"trainer +\| .*RESUMED", resumed.stdout)
    assert (team / "killed" / version.relative_to(team / "var") / "model.json").read_bytes() == (
        version / "model.json"
    ).read_bytes()


def _scores(installed: Installed, folder: Path, rows: list[dict[str, Any]]) -> list[float]:
    """Return the scores that the service of a project answers."""
    with subprocess.Popen(
        installed.command("serve", "--pipeline", "credit", "--port", "0"), cwd=folder, env=installed.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as service:  # fmt: skip
        try:
            assert service.stdout
            address = next(
                found[0] for line in service.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
            answer = httpx.post(f"{address}/predict", json={"rows": rows}, timeout=60, trust_env=False)
            return [prediction["score"] for prediction in answer.raise_for_status().json()["predictions"]]
        finally:
            service.terminate()


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
