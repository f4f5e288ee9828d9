"""Check of the registries: aliases, change log, and the files of `latest` and `stable`."""

from __future__ import annotations

from collections.abc import Iterator

from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.errors import AiWorkflowError
from ai_workflow.registry.registry import Registry

_ALIASES_REMEDY = 'If history.jsonl is intact, remove aliases.json (docs/operating.md, "Retention policy")'
_HISTORY_REMEDY = 'Move the file away; the next change starts a new one (docs/operating.md, "Retention policy")'


def check(context: Context) -> Iterator[Finding]:
    """Yield the damaged registries and versions of every pipeline of the environment."""
    store = context.store
    for pipeline in store.names(context.models):
        yield from _registry(pipeline, Registry(store, f"{context.models}/{pipeline}"))


def _registry(pipeline: str, registry: Registry) -> Iterator[Finding]:
    where = registry.store.url(registry.folder)
    try:
        aliases = registry.aliases()
    except (AiWorkflowError, OSError) as error:
        yield Finding("error", f"the registry of {pipeline} cannot be read: {error}", where, _ALIASES_REMEDY)
        return
    try:
        registry.history()
    except (AiWorkflowError, OSError) as error:
        yield Finding("error", f"the change log of {pipeline} is damaged: {error}", where, _HISTORY_REMEDY)
    for name in sorted({name for name in aliases.values() if name}):
        names = " and ".join(alias for alias, version in aliases.items() if version == name)
        for problem in _problems(registry, name):
            what = f"{name} of {pipeline} ({names}) is damaged: {problem}"
            yield Finding("error", what, f"{where}/{name}", _remedy(aliases, name))


def _problems(registry: Registry, name: str) -> list[str]:
    try:
        damaged = registry.damaged(registry.get(name))
    except (AiWorkflowError, OSError, KeyError, TypeError) as error:
        return [str(error)]
    return [f"{', '.join(url.rpartition('/')[2] for url in damaged)} missing or changed"] if damaged else []


def _remedy(aliases: dict[str, str | None], name: str) -> str:
    if aliases.get("stable") not in (name, None):
        return "ai-workflow models rollback --reason damaged"
    return "Restore the files from a backup, or publish another version: ai-workflow run training"
