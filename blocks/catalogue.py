"""Every block the project looks up, by name: what it is for, and the variable its value comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretBlock:
    """A Prefect Secret block: its name in `${secret:NAME}`, and what it is for."""

    name: str
    purpose: str

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the block, and that it is made from."""
        return self.name.upper().replace("-", "_")


SECRETS = (
    SecretBlock("database-password", "the password of the database that `sql` sources read"),
    SecretBlock("inference-token", "the bearer token of those who ask the inference service"),
    SecretBlock("inference-admin-token", "the bearer token of those who administer it"),
)
