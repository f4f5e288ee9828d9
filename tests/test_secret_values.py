"""What a secret promises: it is never shown, and a missing one is named with what to do."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from ai_workflow.config.settings import Relay, Service
from ai_workflow.secret_values import MissingSecretError, Secret, scrub


class Login(BaseModel):
    password: Secret


@pytest.mark.parametrize("text", ["s3cr3t-literal", "${secret:some-name}"])
def test_secret_is_masked_in_every_representation(text: str) -> None:
    secret, login = Secret(text), Login.model_validate({"password": text})
    shown = f"{secret} {secret!r} {[secret]} {login} {login.model_dump()} {login.model_dump_json()}"
    assert text not in shown
    assert json.loads(login.model_dump_json()) == {"password": "***"}


def test_literal_secret_reveals_value() -> None:
    assert Secret("value").reveal() == "value"
    assert Secret("").reveal() == ""


def test_secret_store_takes_precedence_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "from the environment")
    assert Secret("${secret:db-password}").reveal({"db-password": "from the store"}.get) == "from the store"
    assert Secret("${secret:db-password}").reveal(lambda _: None) == "from the environment"
    assert Secret("${secret:db-password}").reveal() == "from the environment"


def test_missing_secret_error_names_block_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    with pytest.raises(MissingSecretError, match=r"secret 'db-password' .* block 'db-password', or set .* DB_PASSWORD"):
        Secret("${secret:db-password}").reveal()


def test_empty_secret_variable_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "")
    with pytest.raises(MissingSecretError, match="secret 'db-password' is empty"):
        Secret("${secret:db-password}").reveal()


@pytest.mark.parametrize("section", [Service, Relay])
def test_empty_token_is_rejected(section: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="token must not be empty"):
        section.model_validate({"token": ""})


def test_revealed_secret_is_masked_in_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE_TOKEN", "abcd-late")
    assert scrub("token abcd-late") == "token abcd-late"
    Secret("${secret:late-token}").reveal()
    Secret("abcd-late-and-longer")
    assert scrub("abcd-late, abcd-late-and-longer!") == "***, ***!"


def test_very_short_secret_is_not_masked() -> None:
    Secret("a")
    assert scrub("a banana") == "a banana"


def test_secret_must_be_text() -> None:
    with pytest.raises(ValidationError, match="a secret must be text; quote it"):
        Login.model_validate({"password": 1234})


def test_secrets_are_equal_by_value() -> None:
    assert Secret("one") == Secret("one")
    assert len({Secret("one"), Secret("one"), Secret("two"), Secret("${secret:one}")}) == 3
