"""deploy/Dockerfile: slim, locked, nobody's root; what is not sent to the builder cannot be in the image."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
import yaml

from ai_workflow.config import loader
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from tests.deploy import dockerfile, native_commands

ROOT = Path(__file__).parents[2]
IGNORE = ROOT / "deploy" / "Dockerfile.dockerignore"
INSTRUCTIONS = dockerfile.read()
LAST = max(instruction.stage for instruction in INSTRUCTIONS)


def said(name: str, stage: int | None = None) -> list[str]:
    return [each.said for each in INSTRUCTIONS if each.name == name and stage in (None, each.stage)]


def sent(path: str) -> bool:
    """Say whether a file is sent to the builder: the last line that speaks of it, or of a folder above it, decides."""
    decided = True
    for line in IGNORE.read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        tails = [pattern.removeprefix("**/")] if pattern.startswith("**/") else []
        if any(fnmatch.fnmatch(name, pattern) for name in above) or any(
            fnmatch.fnmatch(part, tail) for tail in tails for part in parts
        ):
            decided = line.startswith("!")
    return decided


def test_base_image_is_slim_with_tested_python_version() -> None:
    (base,) = [text.removeprefix("BASE=") for text in said("ARG", -1)]

    assert re.fullmatch(r"python:3\.11-slim-bookworm", base)
    assert [text.split(" ")[0] for text in said("FROM")] == ["${BASE}", "${BASE}"]


def test_image_does_not_run_as_root() -> None:
    (user,) = said("USER", LAST)
    names = [each.name for each in INSTRUCTIONS]

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), "a number, so that Kubernetes sees that it is not root"
    assert not {"RUN", "COPY", "FROM"} & set(names[names.index("USER") :])


def test_image_installs_only_locked_packages() -> None:
    installs = [text for text in said("RUN") if re.search(r"pip(\S*) install", text)]

    assert len(installs) == 3
    for text in installs:
        assert re.search(r"--require-hashes|--(build-)?constraint requirements\.lock", text), text
    assert not any("--upgrade" in text or "curl" in text or "wget" in text for text in said("RUN"))


def test_final_image_contains_no_build_artifacts() -> None:
    assert said("COPY", LAST)[0].startswith("--from=build ")
    assert not any("pip" in text for text in said("RUN", LAST))
    assert "rm -rf /var/lib/apt/lists/*" in next(text for text in said("RUN", LAST) if "apt-get" in text)


def test_image_runs_service_by_default_under_tini() -> None:
    (entry,) = [each for each in INSTRUCTIONS if each.name == "ENTRYPOINT"]
    (command,) = [each for each in INSTRUCTIONS if each.name == "CMD"]

    assert entry.words == ["tini", "--"]
    assert native_commands.alike(command.words) == native_commands.commands()["service"]
    assert "tini" in next(text for text in said("RUN", LAST) if "apt-get install" in text).split()


def test_image_health_check_uses_service_endpoint() -> None:
    (check,) = said("HEALTHCHECK", LAST)
    port = loader.load(environment="production", env={}).settings.service.port

    assert f"http://127.0.0.1:{port}/v2/health/live" in check
    assert '"ai_workflow.local.health"' in check


def test_copied_files_exist_in_build_context() -> None:
    copied = [name for text in said("COPY") if not text.startswith("--from") for name in text.split()[:-1]]

    assert {"src", "config", "blocks", "deploy", "flows", "monitoring", "prefect.yaml"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists() or not sent(name)] == []


@pytest.mark.parametrize(
    "path",
    [".env", "deploy/.env", "config/.env.production", ".git/config", "var/prefect/prefect.db", ".venv/bin/python",
     "tests/conftest.py", "docs/serving.md", "src/ai_workflow/cli/__pycache__/main.cpython-311.pyc"],
)  # fmt: skip
def test_excluded_files_are_not_in_build_context(path: str) -> None:
    assert not sent(path)


@pytest.mark.parametrize(
    "path", ["src/ai_workflow/cli/main.py", "config/base.yaml", "monitoring/slo.yaml", "flows/training.py"]
)
def test_included_files_are_in_build_context(path: str) -> None:
    assert sent(path)


def test_dockerfile_contains_no_secret() -> None:
    text = dockerfile.FILE.read_text()

    assert not re.search(r"(?i)(password|token|secret|auth_string)\s*=", text)


class TestItsConfiguration:
    """What `ai-workflow` reads inside of the image: the folder /etc/ai-workflow as the Dockerfile fills it."""

    @pytest.fixture
    def etc(self, tmp_path: Path) -> Path:
        for text in said("COPY", LAST):
            source, *_, target = text.split()
            if target.startswith("/etc/ai-workflow/"):
                place = tmp_path / target.removeprefix("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes((ROOT / source).read_bytes())
        return tmp_path

    def load(self, root: Path, **more: str) -> Settings:
        release = root / "os-release"
        release.write_text("ID=debian\n")
        (variables,) = said("ENV", LAST)
        env = dict(re.findall(r"(\w+)=(\S+)", variables))
        env |= {"AIW_ETC": str(root / "etc/ai-workflow"), "AIW_OS_RELEASE": str(release)}
        env["AIW_CONFIG"] = str(root / env["AIW_CONFIG"].removeprefix("/"))
        return loader.load(env=env | more).settings

    def test_container_config_listens_publicly_and_requires_tokens(self, etc: Path) -> None:
        found, everywhere = self.load(etc), "0.0.0.0"  # noqa: S104 - compared, never bound

        assert (found.environment, found.service.host, found.relay.host) == ("production", everywhere, everywhere)
        assert found.service.token is not None
        assert found.relay.token is not None
        assert found.store.root == "/var/lib/ai-workflow"
        assert found.deploy.relay_url == "http://relay:9110/prefect"

    def test_site_config_overrides_container_config(self, etc: Path) -> None:
        site = etc / "etc/ai-workflow/site/site.yaml"
        site.write_text(
            yaml.safe_dump({"chat": [{"name": "on-call", "kind": "slack", "url": "${secret:on-call-url}"}]})
        )

        assert [channel.name for channel in self.load(etc).chat] == ["on-call"]

    def test_public_host_without_token_is_rejected(self, etc: Path) -> None:
        site = etc / "etc/ai-workflow/site/site.yaml"
        site.write_text("relay: {token: null}\n")

        with pytest.raises(AiWorkflowError, match=r"set relay\.token"):
            self.load(etc)
