"""`ai-workflow config check` refuses what a part would refuse at its start, without network and without secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ai_workflow.alerting.channels import urls
from ai_workflow.config import environment, startup
from ai_workflow.config.environment import VariableError
from ai_workflow.config.loader import ConfigError
from ai_workflow.config.settings import chat_urls
from ai_workflow.config.startup import StartError
from ai_workflow.errors import AiWorkflowError
from tests.config_project import Project

GOOD = {
    "slack": "https://hooks.slack.com/services/T1/B2/abc",
    "discord": "https://discord.com/api/webhooks/12/tok-en",
    "telegram": "https://api.telegram.org/bot1:tok-en/sendMessage?chat_id=-100",
    "teams": "https://a.logic.azure.com/workflows/ab/triggers/manual/paths/invoke?sp=x&sig=abc",
    "feishu": "https://open.larksuite.com/open-apis/bot/v2/hook/0a-1b",
    "dingtalk": "https://oapi.dingtalk.com/robot/send?access_token=0a1b",
    "wecom": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0a-1b",
    "webhook": "http://127.0.0.1:8000/hook?next=https://example.com/",
    "apprise": "json://127.0.0.1:8000/hook?next=https://example.com/",
}
BAD = {
    "slack": "https://hooks.slack.com/services/canary9/B2",
    "discord": "https://discord.com/channels/12/canary9",
    "telegram": "https://api.telegram.org/bot1:canary9/sendMessage",
    "teams": "https://outlook.office.com/webhook/canary9",
    "feishu": "https://open.feishu.cn/open-apis/canary9",
    "dingtalk": "https://oapi.dingtalk.com/robot/send?token=canary9",
    "wecom": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?canary9",
    "webhook": "https://example.com:port/canary9",
    "apprise": "no-such-vendor://canary9",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def checked(project: Project, text: str, **env: str) -> None:
    startup.check(project.load(project.write("mine.yaml", text), env=env), env)


def chat(kind: str, url: str) -> str:
    return f"pipeline: base\nchat:\n  - name: a\n    kind: {kind}\n    url: {json.dumps(url)}\n"


@pytest.mark.parametrize("kind", GOOD)
def test_chat_url_of_matching_vendor_is_accepted(kind: str, project: Project) -> None:
    checked(project, chat(kind, GOOD[kind]))
    checked(project, chat(kind, f" {GOOD[kind]}\n"))


@pytest.mark.parametrize("kind", BAD)
def test_chat_url_of_other_vendor_is_rejected_with_location(kind: str, project: Project) -> None:
    with pytest.raises(AiWorkflowError) as caught:
        checked(project, chat(kind, BAD[kind]))
    said = str(caught.value).splitlines()[-1]
    assert said == f"mine.yaml:5: chat.0.url: does not fit kind {kind}. Use {chat_urls.EXAMPLES[kind]}"


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("between", [", ", ",", " ", ";", " | ", "\n"])
def test_multiple_addresses_in_chat_url_are_rejected(kind: str, between: str, project: Project) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(project, chat(kind, f"{GOOD[kind]}{between}{GOOD[kind]}"))
    assert "canary" not in str(caught.value)
    assert re.search(
        r"chat\.0\.url: (holds several addresses, but a channel has one|does not fit kind)", str(caught.value)
    )


@pytest.mark.parametrize(
    "url", ["https://a:99999/x", "https://a:0/x", "https://x..y/x", "https://[::1/x", "https:///x", "https://a b/x",
            "https://a\u00a0b/x", "https://a\x7f/x", f"https://{'a' * 70}/x", "HTTPS//a", "https:a", "/x", ""],
)  # fmt: skip
def test_invalid_chat_url_is_rejected_by_settings_and_relay(url: str) -> None:
    assert chat_urls.refusal("webhook", url)
    with pytest.raises(urls.ChannelURLError):
        urls.check("webhook", url)


@pytest.mark.parametrize(
    "value", ["*", "https://*.example.com", "prefect.example.com", "https://a/b", "https://a b", "https://a:65536"]
)
def test_invalid_allowed_origin_is_rejected(value: str, project: Project) -> None:
    with pytest.raises(StartError, match=r"^AIW_ALLOWED_ORIGINS .*not an origin\. Write scheme://host"):
        checked(project, "pipeline: base", AIW_ALLOWED_ORIGINS=f"https://good.example,{value}")


@pytest.mark.parametrize("value", ["canary9", ":canary9", "canary9:"])
def test_malformed_login_is_rejected_and_masked(value: str, project: Project) -> None:
    with pytest.raises(StartError, match=r"^PREFECT_LOGIN is not of the form user:password") as caught:
        checked(project, "pipeline: base", PREFECT_LOGIN=value)
    assert "canary9" not in str(caught.value)


@pytest.mark.parametrize("name", environment.CERTIFICATES)
def test_missing_certificate_path_is_rejected(name: str, tmp_path: Path) -> None:
    environment.check({name: str(tmp_path)})
    environment.check({name: ""})
    with pytest.raises(VariableError, match=rf"^{name}: {tmp_path}/gone does not exist\. Correct the path, or unset"):
        environment.check({name: str(tmp_path / "gone")})


@pytest.mark.parametrize(("first", "second"), [("token", "admin_token"), ("token", "label_token")])
def test_identical_tokens_are_rejected(first: str, second: str, project: Project) -> None:
    said = "have the same value, so each would grant the access of the other"
    for value in ("literal-77", "${secret:one}"):
        with pytest.raises(ConfigError, match=said):
            checked(project, f"service: {{{first}: '{value}', {second}: '{value}'}}")
    text = f"service: {{{first}: '${{secret:one}}', {second}: '${{secret:two}}'}}"
    with pytest.raises(StartError, match=said) as caught:
        checked(project, text, ONE="value-77", TWO="value-77")
    assert "value-77" not in str(caught.value)
    checked(project, text, ONE="value-77", TWO="value-78")


@pytest.mark.parametrize("name", ["token", "admin_token", "label_token"])
def test_empty_token_is_rejected(name: str, project: Project) -> None:
    tokens = {"token": "literal-77", name: ""}
    with pytest.raises(ConfigError, match=f"service.{name}: must not be empty"):
        checked(project, f"service: {json.dumps(tokens)}")


@pytest.mark.parametrize("host", ["http://0.0.0.0", "127.0.0.1:8080", "[::1]", "a b", "", "-x", "a/b"])
@pytest.mark.parametrize("section", ["service", "relay"])
def test_invalid_host_is_rejected(section: str, host: str, project: Project) -> None:
    with pytest.raises(ConfigError, match=f"{section}.host: must be an IP address or a host name"):
        checked(project, f"{section}: {json.dumps({'host': host, 'token': 'literal-77'})}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "svc_1.internal", "fe80::1%eth0", "a"])  # noqa: S104
def test_valid_host_is_accepted(host: str, project: Project) -> None:
    checked(project, f"service: {json.dumps({'host': host, 'token': 'literal-77'})}")


@pytest.mark.parametrize("url", ["http://", "ftp://relay", "https://a b", "http://a, http://b", "relay:9110"])
def test_invalid_relay_url_is_rejected(url: str, project: Project) -> None:
    with pytest.raises(ConfigError, match=r"mine.yaml:1: deploy.relay_url: must be an http or https URL"):
        checked(project, f"deploy: {{relay_url: {json.dumps(url)}}}")


def test_startup_problems_are_reported_together(project: Project) -> None:
    with pytest.raises(StartError) as caught:
        checked(
            project, chat("apprise", BAD["apprise"]), AIW_ALLOWED_ORIGINS="*", RELAY_TOKEN="x-77", PREFECT_LOGIN="x"
        )
    starts = ["RELAY_TOKEN is set", "AIW_ALLOWED_ORIGINS", "PREFECT_LOGIN", "mine.yaml:5: chat.0.url"]
    assert all(line.startswith(start) for line, start in zip(str(caught.value).splitlines(), starts, strict=True))


@pytest.mark.parametrize(("name", "what"), [("AIW_ETC", "folder"), ("AIW_OS_RELEASE", "file")])
def test_variable_with_missing_path_is_rejected(name: str, what: str, project: Project) -> None:
    wrong = project.root / ("os-release" if what == "folder" else "etc")
    for path in (project.root / "gone", wrong):
        with pytest.raises(ConfigError) as caught:
            project.load(env={name: str(path)})
        assert str(caught.value).splitlines()[1:] == [
            f"{name}: {path} is not a {what}. Correct the path, or unset {name}"
        ]
    project.load(env={name: ""})


def test_unreadable_family_folder_is_rejected(project: Project) -> None:
    """A file in place of the folder stands for one without permission, which root always has."""
    project.write("etc/ubuntu", "not a folder")
    with pytest.raises(ConfigError, match=r"etc/ubuntu: cannot be read: Not a directory"):
        project.load()
