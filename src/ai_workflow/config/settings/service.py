"""How the inference service runs: where it listens, who may ask, and how much at a time."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from ai_workflow.config.settings.config_model import RELATIVE_TO_FILE, ConfigModel, Host, Scope
from ai_workflow.secret_values import Secret


class PredictionLog(ConfigModel):
    """What is kept of each prediction, and where it waits until it is in `predictions/`."""

    scope: ClassVar[Scope] = "deployment"
    enabled: bool = True
    values: bool = Field(default=False, description="keep rows as they were sent; else a hash of the features only")
    segment_seconds: float = Field(default=300, gt=0, description="how soon predictions are in `predictions/`")
    folder: Annotated[str | None, RELATIVE_TO_FILE] = Field(
        default=None, description="a folder on this machine; in the store if that is a folder"
    )


class Service(ConfigModel):
    """The inference service."""

    scope: ClassVar[Scope] = "deployment"
    host: Host = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535, description="0: any that is free")
    token: Secret | None = Field(default=None, description="bearer token of callers")
    admin_token: Secret | None = Field(
        default=None, description="bearer token of the admin routes; none: there are none"
    )
    label_token: Secret | None = Field(
        default=None, description="bearer token of POST /labels; none: open without any token, closed with one"
    )
    reload_seconds: float = Field(default=1, gt=0, description="how often it looks at the registry's aliases")
    max_in_flight: int = Field(default=256, ge=1, description="requests at a time; one more is told 503")
    max_queue: int = Field(default=128, ge=1, description="requests that may wait for one version")
    max_rows: int = Field(default=1000, ge=1, description="rows of one request")
    max_body_bytes: int = Field(default=2_000_000, ge=1024)
    max_connections: int = Field(default=4096, ge=16, description="beyond them, idle ones are closed")
    read_seconds: float = Field(default=10, gt=0, description="how long a client may take to send a request")
    idle_seconds: float = Field(default=75, gt=0, description="how long a connection may be silent between requests")
    drain_seconds: float = Field(
        default=3, ge=0, le=20, description="how long it still answers after SIGTERM, not ready any more"
    )
    prediction_log: PredictionLog = PredictionLog()

    @model_validator(mode="after")
    def _open_to_others_only_with_token(self) -> Service:
        for name, token in self.tokens.items():
            if token.is_empty:
                raise ValueError(f"{name} must not be empty: anyone could call the service")
        if problem := same_tokens(self.tokens):
            raise ValueError(problem)
        if self.token is None and not self.is_loopback:
            raise ValueError(
                f"service.host {self.host} can be reached from other machines: set service.token, or 127.0.0.1"
            )
        return self

    @property
    def tokens(self) -> dict[str, Secret]:
        """The tokens that are set, by their keys."""
        named = {"token": self.token, "admin_token": self.admin_token, "label_token": self.label_token}
        return {name: token for name, token in named.items() if token is not None}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def same_tokens(tokens: Mapping[str, object]) -> str:
    """Return why tokens, by their keys, are refused: two have the same value. Empty if all differ."""
    for (name, token), (other, value) in itertools.combinations(sorted(tokens.items()), 2):
        if token == value:
            return (
                f"service.{name} and service.{other} have the same value: each would open what the other one guards. "
                "Set different tokens"
            )
    return ""
