"""Labels of owners: which project and environment a deployment, run or event on a shared Prefect server belongs to.

The first owner of a server has the empty label, and plain names. Others have a label such as `staging`, which is the
end of the names of their deployments and part of the tag of their runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prefect.runtime import flow_run

TAG = "ai-workflow"
_ENVIRONMENT_TAG = "environment:"


def tag(label: str) -> str:
    """Return the tag of the deployments and runs of an owner."""
    return f"{TAG}:{label}" if label else TAG


def name(plain: str, label: str) -> str:
    """Return the name of a deployment, work pool or block of an owner."""
    return f"{plain}-{label}" if label else plain


def of(tags: Iterable[str]) -> str:
    """Return the label in the tags of a deployment or run; empty for the first owner, or without a tag."""
    labels = [each.removeprefix(f"{TAG}:") for each in tags if each.startswith(f"{TAG}:")]
    return labels[0] if labels else ""


def current() -> str:
    """Return the label of the deployment of the current flow run; empty for the first owner, or without one."""
    return of(flow_run.tags or ())


def environment_of(tags: Iterable[str], parameters: Mapping[str, object]) -> str | None:
    """Return the environment of a run by its parameters or tags, None if neither has it."""
    named = parameters.get("environment")
    tagged = [each.removeprefix(_ENVIRONMENT_TAG) for each in tags if each.startswith(_ENVIRONMENT_TAG)]
    return str(named) if named else next(iter(tagged), None)
