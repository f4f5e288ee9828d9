"""Every block the project looks up, by name: what it is for, and the variables its values come from."""

from __future__ import annotations

from dataclasses import dataclass

from ai_workflow.secret_values import variable


@dataclass(frozen=True, slots=True)
class SecretBlock:
    """A Prefect Secret block: its name in `${secret:NAME}`, and what it is for."""

    name: str
    purpose: str

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the block, and that it is made from."""
        return variable(self.name)


@dataclass(frozen=True, slots=True)
class ChatBlock:
    """A ChatChannel block: its name in `chat: [{block: NAME}]`, and what it is for."""

    name: str
    purpose: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment variable of each field: kind, url, secret."""
        return {field: f"{variable(self.name)}_{field.upper()}" for field in ("kind", "url", "secret")}


SECRETS = (
    SecretBlock("database-password", "the password of the database that `sql` sources read"),
    SecretBlock("inference-token", "the bearer token of those who ask the inference service"),
    SecretBlock("inference-label-token", "the bearer token of those who send labels to the inference service"),
    SecretBlock("inference-admin-token", "the bearer token of those who administer it"),
    SecretBlock("relay-token", "the bearer token of Alertmanager and Prefect when they post alerts to the relay"),
)
CHATS = (ChatBlock("on-call", "the chat that alerts are told in"),)
