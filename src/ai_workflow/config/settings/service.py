"""Settings of predictions: deadline and fallback, and the service's address, authentication and limits."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from ai_workflow.config.settings.config_model import (
    OF_DEPLOYMENT,
    RELATIVE_TO_FILE,
    ConfigModel,
    Fraction,
    Host,
    Name,
    Scope,
)
from ai_workflow.config.settings.source import Source
from ai_workflow.secret_values import Secret

# Stands for all pipelines in `service.pipelines`.
ALL_PIPELINES = "all"


class Inference(ConfigModel):
    """Deadline, batches and fallback of predictions."""

    scope: ClassVar[Scope] = "pipeline"
    source: Source | None = Field(
        default=None, description="source of the scoring flow; the training source if not given"
    )
    reject_limit: Fraction = Field(
        default=1.0, description="share of rejected rows above which a scoring fails; by default the others are scored"
    )
    batch_size: Annotated[int | None, OF_DEPLOYMENT] = Field(
        default=None, ge=1, description="rows per call of the model in scoring; model.batch_size if not given"
    )
    deadline_ms: Annotated[int, OF_DEPLOYMENT] = Field(default=200, ge=1)
    default_response: dict[str, Any] | None = Field(
        default_factory=lambda: {"prediction": None},
        description="response of the service if no version can answer; null for status 504 (deadline) or 503",
    )


class PredictionLog(ConfigModel):
    """The log of predictions."""

    scope: ClassVar[Scope] = "deployment"
    enabled: bool = True
    values: bool = Field(default=False, description="store the rows of requests; else a hash of the features only")
    segment_seconds: float = Field(
        default=300, gt=0, description="longest time until predictions are in `predictions/`"
    )
    folder: Annotated[str | None, RELATIVE_TO_FILE] = Field(
        default=None, description="local folder of segments; in the store if not given and the store is a folder"
    )


class Service(ConfigModel):
    """The inference service."""

    scope: ClassVar[Scope] = "deployment"
    host: Host = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535, description="0 for any free port")
    token: Secret | None = Field(default=None, description="bearer token of clients")
    admin_token: Secret | None = Field(
        default=None, description="bearer token of the admin endpoints, which are disabled without it"
    )
    label_token: Secret | None = Field(
        default=None,
        description="bearer token of POST /labels; without it, the endpoint is disabled if `token` is set, else open",
    )
    reload_seconds: float = Field(default=1, gt=0, description="interval of reads of the aliases in the registry")
    max_in_flight: int = Field(default=256, ge=1, description="concurrent requests; more get status 503")
    max_queue: int = Field(default=128, ge=1, description="queued requests of a version")
    max_rows: int = Field(default=1000, ge=1, description="rows of a request")
    max_body_bytes: int = Field(default=2_000_000, ge=1024)
    max_connections: int = Field(default=4096, ge=16, description="idle connections beyond this number are closed")
    read_seconds: float = Field(default=10, gt=0, description="time limit for a client to send a request")
    idle_seconds: float = Field(default=75, gt=0, description="time limit between requests of a connection")
    drain_seconds: float = Field(
        default=3, ge=0, le=20, description="time after SIGTERM in which it answers while not ready"
    )
    prediction_log: PredictionLog = PredictionLog()
    pipelines: tuple[Name, ...] = Field(
        default=(), description="pipelines in pipelines/ that one service serves, [all] for all; none: one pipeline"
    )

    @model_validator(mode="after")
    def _check_tokens(self) -> Service:
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
        """The configured tokens by key."""
        named = {"token": self.token, "admin_token": self.admin_token, "label_token": self.label_token}
        return {name: token for name, token in named.items() if token is not None}

    @property
    def is_loopback(self) -> bool:
        """Whether it listens on loopback only."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def same_tokens(tokens: Mapping[str, object]) -> str:
    """Return an error if two tokens have the same value, else an empty text."""
    for (name, token), (other, value) in itertools.combinations(sorted(tokens.items()), 2):
        if token == value:
            return (
                f"service.{name} and service.{other} have the same value, so each would grant the access of the other. "
                "Set different tokens"
            )
    return ""
