"""What the checks examine: configuration, store, addresses; each part has a default if the configuration is invalid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ai_workflow.config import loader
from ai_workflow.config.layers import DEFAULT_ENVIRONMENT
from ai_workflow.config.settings import Service
from ai_workflow.config.settings.chat import Relay
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack.paths import StackOptions, StackPaths
from ai_workflow.slo import reader
from ai_workflow.slo.spec import Spec
from ai_workflow.storage.store import Store

VAR = Path("var")
_MODELS = "models"
_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `ai-workflow doctor`.

    Args:
        pipeline: the pipeline file.
        environment: the environment.
        store: the root of the store.
        service: the URL of the inference service.
        relay: the URL of the alert relay.
    """

    pipeline: Path | None = None
    environment: str | None = None
    store: str | None = None
    service: str | None = None
    relay: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a service, and whether it should answer there."""

    url: str
    is_expected: bool


@dataclass(frozen=True)
class Context:
    """The parts that are checked.

    Args:
        options: the options of the command.
        env: the environment variables.
        loaded: the configuration, None if neither it nor that without the pipeline file is valid.
        config_error: why the configuration is invalid.
        spec: the SLO file, None if it is invalid.
        spec_error: why it is invalid.
        var: the folder of the stack and of the local Prefect server.
        cgroup: the folder of the control group of this process.
    """

    options: Options
    env: Mapping[str, str] = field(repr=False)
    loaded: loader.Loaded | None = None
    config_error: AiWorkflowError | None = None
    spec: Spec | None = None
    spec_error: AiWorkflowError | None = None
    var: Path = VAR
    cgroup: Path = Path("/sys/fs/cgroup")

    @property
    def environment(self) -> str:
        """The name of the environment."""
        named = self.options.environment or self.env.get("AIW_ENVIRONMENT")
        return named or DEFAULT_ENVIRONMENT

    @property
    def root(self) -> str:
        """The root of the store."""
        if self.options.store is not None:
            return self.options.store
        return self.loaded.settings.store.root if self.loaded else self.env.get("AIW_STORE", str(VAR))

    @property
    def store(self) -> Store:
        """The store."""
        return Store(self.root)

    @property
    def models(self) -> str:
        """The folder of the registries of the environment."""
        if self.loaded:
            return self.loaded.settings.models.rpartition("/")[0]
        return f"{_MODELS}/{self.environment}"

    @property
    def service(self) -> Address:
        """The address of the inference service."""
        service = self.loaded.settings.service if self.loaded else Service()
        return self._address("service", self.options.service, service.host, service.port)

    @property
    def relay(self) -> Address:
        """The address of the alert relay."""
        relay = self.loaded.settings.relay if self.loaded else Relay()
        return self._address("relay", self.options.relay, relay.host, relay.port)

    def _address(self, service: str, given: str | None, host: str, port: int) -> Address:
        if given is not None:
            return Address(given.rstrip("/"), is_expected=True)
        if stack := self.stack:
            return Address(f"http://{HOST}:{stack.port(stack.named(service))}", is_expected=True)
        host = HOST if host in _ANY_ADDRESS else f"[{host}]" if ":" in host else host
        return Address(f"http://{host}:{port}", is_expected=self.environment != DEFAULT_ENVIRONMENT)

    @property
    def stack(self) -> StackOptions | None:
        """The options of the stack that was started in this folder and not stopped, None if there is none."""
        state = StackPaths(self.var).read_state()
        return state.options if state else None


def examine(options: Options, env: Mapping[str, str] | None = None) -> Context:
    """Return the context of the checks; an invalid configuration or SLO file is kept as its error."""
    env = os.environ if env is None else env
    loaded, config_error = _load(options)
    spec, spec_error = _spec()
    return Context(options, env, loaded, config_error, spec, spec_error)


def _load(options: Options) -> tuple[loader.Loaded | None, AiWorkflowError | None]:
    try:
        return loader.load(options.pipeline, environment=options.environment), None
    except AiWorkflowError as error:
        problem = error
    try:
        # Without the pipeline file, for the settings of the deployment.
        return loader.load(None, environment=options.environment), problem
    except AiWorkflowError:
        return None, problem


def _spec() -> tuple[Spec | None, AiWorkflowError | None]:
    try:
        return reader.load(), None
    except AiWorkflowError as error:
        return None, error
