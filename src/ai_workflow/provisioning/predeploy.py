"""`python -m ai_workflow.provisioning.predeploy`: checks of prefect.yaml: variables, parameters, schedules, limits."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cyclopts import App
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate

from ai_workflow.errors import AiWorkflowError
from ai_workflow.provisioning import prefect_file
from ai_workflow.provisioning.prefect_file import Entry, PrefectFileError
from ai_workflow.runtime import standard_output

_PAUSES = re.compile(r"\ba?pause_flow_run\(")
app = App(name="python -m ai_workflow.provisioning.predeploy", help=__doc__, version_flags=[])


@dataclass(frozen=True, slots=True)
class Checked:
    """A deployment that can be deployed: its entry, its flow, and the schema that its parameters must fit."""

    entry: Entry
    flow: Flow[..., Any]
    schema: dict[str, Any]


def check(path: Path, environment: Mapping[str, str] = os.environ) -> list[Checked]:
    """Return the deployments of a prefect.yaml with their flows, which are imported; nothing is deployed.

    Raises:
        PrefectFileError: there is something wrong with it; all of it is said.
    """
    entries, problems = prefect_file.read(path, environment)
    flows: dict[str, Flow[..., Any] | str] = {}
    checked = []
    for entry in entries:
        entrypoint = entry.given["entrypoint"]
        if entrypoint not in flows:
            flows[entrypoint] = _load(path.parent, entrypoint)
        found = flows[entrypoint]
        if isinstance(found, str):
            problems.append(f"deployment {entry.name}: {found}")
            continue
        one = Checked(entry, found, closed(found))
        problems += [f"deployment {entry.name}: {problem}" for problem in _problems(one, path.parent)]
        checked.append(one)
    if problems:
        raise PrefectFileError.of(path, problems)
    return checked


def closed(flow: Flow[..., Any]) -> dict[str, Any]:
    """Return the schema of a flow's parameters that lets no other parameter pass.

    Prefect's own takes a parameter that the flow does not have; the run then crashes in the worker.
    """
    return parameter_schema(flow).model_dump(mode="json") | {"additionalProperties": False}


def _load(root: Path, entrypoint: str) -> Flow[..., Any] | str:
    file, _, name = entrypoint.rpartition(":")
    if not (root / file).is_file():
        return f"entrypoint: there is no file {file}"
    try:
        return load_flow_from_entrypoint(f"{root / file}:{name}", use_placeholder_flow=False)
    except Exception as error:  # whatever the import of a file may raise
        return f"entrypoint {entrypoint} cannot be imported: {type(error).__name__}: {error}"


def _problems(one: Checked, root: Path) -> Iterator[str]:
    yield from _parameters(one)
    yield from _limit(one, root)


def _parameters(one: Checked) -> Iterator[str]:
    defaults = one.entry.get("parameters", {})
    yield from _against(defaults, one.schema, "parameters")
    for number, schedule in enumerate(one.entry.get("schedules", [])):
        where = f"schedules[{number}].parameters"
        yield from _against({**defaults, **(schedule.get("parameters") or {})}, one.schema, where, complete=True)


def _limit(one: Checked, root: Path) -> Iterator[str]:
    file = one.entry.given["entrypoint"].rpartition(":")[0]
    if one.entry.get("concurrency_limit") and _PAUSES.search((root / file).read_text()):
        yield (
            "concurrency_limit: this flow pauses for a person, loses its slot as it does, and Prefect would end it "
            "within four minutes. Take the limit out, or suspend the run (asuspend_flow_run), as "
            "ai_workflow.orchestration.maintenance.approval does"
        )


def _against(given: dict[str, Any], schema: dict[str, Any], where: str, *, complete: bool = False) -> Iterator[str]:
    known = list(schema["properties"])
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            yield f"{where}.{name} is no parameter of the flow" + (f", did you mean '{near[0]}'?" if near else "")
    given = {name: value for name, value in given.items() if name in known}
    for problem in validate(given, schema, ignore_required=not complete):
        yield f"{where}{problem.json_path.removeprefix('$')}: {problem.message}"


@app.default
def main(file: Path = Path("prefect.yaml")) -> int:
    """Check it, and say what is wrong; exit code 1 then.

    Args:
        file: the prefect.yaml.
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
