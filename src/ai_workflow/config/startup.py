"""The start-up checks of all parts that need no network, for `config check` and `make up`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ai_workflow.config import environment, variables
from ai_workflow.config.layers import project_root
from ai_workflow.config.pipeline_folders import PipelineFolder, file_of, names
from ai_workflow.config.settings import Deployments, chat_urls
from ai_workflow.config.settings.service import same_tokens
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Secret, variable

if TYPE_CHECKING:
    from ai_workflow.config.loader import Loaded


class StartError(AiWorkflowError):
    """A part would refuse to start."""


def check(loaded: Loaded, env: Mapping[str, str], unused: Iterator[str] | None = None) -> None:
    """Raise if a part would refuse to start with these settings and variables.

    Args:
        loaded: the configuration.
        env: the environment variables.
        unused: errors of variables without effect; those of all parts if not given.

    Raises:
        StartError: with every problem, its key and remedy, a line each; URLs and secrets are not shown.
    """
    without_effect = variables.unused_by_all(loaded, env) if unused is None else unused
    problems = [
        *without_effect, *environment.problems_of(env), *_apprise(loaded), *_tokens(loaded, env),
        *deployments_without_effect(loaded, env), *_unknown_pipelines(loaded, env),
    ]  # fmt: skip
    if problems:
        raise StartError("\n".join(dict.fromkeys(problems)))


def _apprise(loaded: Loaded) -> Iterator[str]:
    """Yield an error for each literal URL that Apprise does not support; the settings check its form only."""
    for number, channel in enumerate(loaded.settings.chat):
        url = channel.literal_url
        if channel.kind == "apprise" and url is not None and (problem := chat_urls.refusal_of_apprise(url)):
            key = f"chat.{number}.url"
            yield f"{loaded.origin(key) or 'chat'}: {key}: {problem.removeprefix('url ')}"


def _unknown_pipelines(loaded: Loaded, env: Mapping[str, str]) -> Iterator[str]:
    """Yield an error for each pipeline of a channel that a project with `pipelines/` does not have."""
    folders = names(project_root(None, env))
    known = {loaded.settings.pipeline, *folders}
    for number, channel in enumerate(loaded.settings.chat if folders else ()):
        key = f"chat.{number}.pipelines"
        for name in channel.pipelines:
            if name not in known:
                there_are = ", ".join(sorted(known))
                yield f"{loaded.origin(key) or 'chat'}: {key}: there is no pipeline {name}; there are: {there_are}"


def deployments_without_effect(loaded: Loaded, env: Mapping[str, str]) -> Iterator[str]:
    """Yield an error if a pipeline outside of `pipelines/` has options of deployments: only the others get them."""
    name = loaded.settings.pipeline
    if loaded.settings.deployments == Deployments() or file_of(project_root(None, env), name):
        return
    file = PipelineFolder(name).file
    origin = loaded.origin("deployments") or "deployments"
    yield (
        f"{origin}: deployments has no effect, because there is no {file}. Move the file of the pipeline there and run "
        "ai-workflow pipeline sync, or change the deployments in prefect.yaml"
    )


def _tokens(loaded: Loaded, env: Mapping[str, str]) -> Iterator[str]:
    """Yield an error if two tokens have the same value, as far as the values are known without Prefect."""
    values = {name: _value(token, env) for name, token in loaded.settings.service.tokens.items()}
    if problem := same_tokens({name: value for name, value in values.items() if value}):
        yield problem


def _value(token: Secret, env: Mapping[str, str]) -> str | None:
    return token.reveal() if token.name is None else env.get(variable(token.name))
