"""`python -m ai_workflow.provisioning.predeploy`: check variables, parameters, schedules and limits of prefect.yaml."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cyclopts import App
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate

from ai_workflow.errors import AiWorkflowError
from ai_workflow.provisioning import pipeline_entries, prefect_file, schedules
from ai_workflow.provisioning.prefect_file import Entry, PrefectFileError
from ai_workflow.runtime import standard_output

_PAUSES = re.compile(r"\ba?pause_flow_run\(")
app = App(name="python -m ai_workflow.provisioning.predeploy", help=__doc__, version_flags=[])


@dataclass(frozen=True, slots=True)
class CheckedDeployment:
    """A valid deployment: the entry of the file, the flow, and the schema of its parameters."""

    entry: Entry
    flow: Flow[..., Any]
    schema: dict[str, Any]

    @property
    def name(self) -> str:
        """The full name, `flow/deployment`."""
        return f"{self.flow.name}/{self.entry.name}"

    def labeled(self, label: str) -> CheckedDeployment:
        """Return the deployment of an owner with a label."""
        return replace(self, entry=self.entry.labeled(label))


def check(path: Path, environment: Mapping[str, str] = os.environ) -> list[CheckedDeployment]:
    """Return the deployments of a prefect.yaml after importing their flows; nothing is deployed.

    Raises:
        PrefectFileError: the file is invalid; with every problem.
        ConfigError: a pipeline in `pipelines/` is not valid.
    """
    entries, problems = prefect_file.read(path, environment)
    flows: dict[str, Flow[..., Any] | str] = {}
    checked = []
    for entry in entries:
        entrypoint = entry.fields["entrypoint"]
        if entrypoint not in flows:
            flows[entrypoint] = _load(path.parent, entrypoint)
        flow = flows[entrypoint]
        if isinstance(flow, str):
            problems.append(f"deployment {entry.name}: {flow}")
            continue
        deployment = CheckedDeployment(entry, flow, closed_schema(flow))
        problems += [f"deployment {entry.name}: {problem}" for problem in _problems(deployment, path.parent)]
        checked.append(deployment)
    problems += pipeline_entries.check(path)
    if problems:
        raise PrefectFileError.of(path, problems)
    return checked


def closed_schema(flow: Flow[..., Any]) -> dict[str, Any]:
    """Return the schema of the parameters of a flow that rejects unknown parameters.

    The schema of Prefect accepts them, and the run then crashes in the worker.
    """
    return parameter_schema(flow).model_dump(mode="json") | {"additionalProperties": False}


def _load(root: Path, entrypoint: str) -> Flow[..., Any] | str:
    file, _, name = entrypoint.rpartition(":")
    if not (root / file).is_file():
        return f"entrypoint: there is no file {file}"
    try:
        return load_flow_from_entrypoint(f"{root / file}:{name}", use_placeholder_flow=False)
    except Exception as error:  # the import of a file may raise anything
        return f"entrypoint {entrypoint} cannot be imported: {type(error).__name__}: {error}"


def _problems(deployment: CheckedDeployment, root: Path) -> Iterator[str]:
    yield from _parameters(deployment)
    yield from _limit(deployment, root)


def _parameters(deployment: CheckedDeployment) -> Iterator[str]:
    defaults = deployment.entry.get("parameters", {})
    yield from _against(defaults, deployment.schema, "parameters")
    for number, schedule in enumerate(deployment.entry.get("schedules", [])):
        if problem := schedules.problem_of(schedule):
            yield f"schedules[{number}] {problem}"
        prefix = f"schedules[{number}].parameters"
        yield from _against(
            {**defaults, **(schedule.get("parameters") or {})}, deployment.schema, prefix, complete=True
        )


def _limit(deployment: CheckedDeployment, root: Path) -> Iterator[str]:
    file = deployment.entry.fields["entrypoint"].rpartition(":")[0]
    if deployment.entry.get("concurrency_limit") and _PAUSES.search((root / file).read_text()):
        yield (
            "concurrency_limit: this flow pauses for approval, loses its slot meanwhile, and Prefect would end it "
            "within four minutes. Remove the limit, or suspend the run (asuspend_flow_run), as "
            "ai_workflow.orchestration.maintenance.approval does"
        )


def _against(values: dict[str, Any], schema: dict[str, Any], prefix: str, *, complete: bool = False) -> Iterator[str]:
    known = list(schema["properties"])
    for name in values:
        if name not in known:
            similar = get_close_matches(name, known, 1)
            yield f"{prefix}.{name} is not a parameter of the flow" + (
                f", did you mean '{similar[0]}'?" if similar else ""
            )
    values = {name: value for name, value in values.items() if name in known}
    for problem in validate(values, schema, ignore_required=not complete):
        yield f"{prefix}{problem.json_path.removeprefix('$')}: {problem.message}"


@app.default
def main(file: Path = Path("prefect.yaml")) -> int:
    """Check a prefect.yaml, and print its problems; the exit code is 1 if there are any.

    Args:
        file: Path of prefect.yaml.
    """
    try:
        checked = check(file)
    except AiWorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{file}: {len(checked)} deployments can be deployed")
    return 0


if __name__ == "__main__":
    with standard_output.exit_when_closed():
        sys.exit(app(result_action="return_value"))
