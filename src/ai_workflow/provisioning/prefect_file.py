"""Reader of prefect.yaml in the format of `prefect deploy`; reports every problem at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.config.pipeline_folders import TAG
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import owner_label

# Keys of `prefect deploy` that this project supports; it would ignore any other silently.
KEYS = (
    "name", "version", "entrypoint", "description", "tags", "parameters", "schedules", "concurrency_limit", "pull",
    "work_pool", "enforce_parameter_schema", "paused",
)  # fmt: skip
POOL_KEYS = ("name", "work_queue_name", "job_variables")
SCHEDULE_KEYS = ("interval", "anchor_date", "cron", "day_or", "rrule", "timezone", "active", "parameters", "slug")
LIMIT_KEYS = ("limit", "collision_strategy", "grace_period_seconds")
STRATEGIES = ("ENQUEUE", "CANCEL_NEW")
_VARIABLE = re.compile(r"\{\{\s*\$([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_PLACEHOLDER = re.compile(r"\{\{\s*(prefect\.(?:blocks|variables)\.[^}\s]+)\s*\}\}")


class PrefectFileError(AiWorkflowError):
    """prefect.yaml is invalid."""

    @classmethod
    def of(cls, path: Path, problems: list[str]) -> PrefectFileError:
        """Return an error with every problem."""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        return cls("\n".join([f"{path}: {count}, nothing was deployed:", *(f"  {problem}" for problem in problems)]))


@dataclass(frozen=True, slots=True)
class Entry:
    """A deployment of the file, with environment variables filled in."""

    fields: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default where it is absent or null."""
        value = self.fields.get(key)
        return default if value is None else value

    @property
    def name(self) -> str:
        """The deployment's name."""
        return str(self.fields["name"])

    def labeled(self, label: str) -> Entry:
        """Return the deployment of an owner with a label: its name, tag and work pool."""
        if not label:
            return self
        tags = {owner_label.tag(label), *self.get("tags", [])} - {owner_label.TAG}
        pool = {**self.fields["work_pool"]}
        if pool["name"] == owner_label.TAG:
            pool["name"] = owner_label.name(owner_label.TAG, label)
        changed = {"name": owner_label.name(self.name, label), "tags": sorted(tags), "work_pool": pool}
        return Entry({**self.fields, **changed})

    @property
    def pipeline(self) -> str | None:
        """The pipeline of its tag `pipeline:<name>`, None without one."""
        names = [tag.removeprefix(TAG) for tag in self.get("tags", []) if str(tag).startswith(TAG)]
        return names[0] if names else None


def read(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[list[Entry], list[str]]:
    """Return the deployments of a file, each with the pull steps of the file, and the problems.

    Raises:
        PrefectFileError: the file cannot be read, is not YAML, or has no list of deployments.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise PrefectFileError(f"{path} cannot be read: {error.strerror}. Run this in the project's folder") from error
    except yaml.YAMLError as error:
        raise PrefectFileError(f"{path} is not YAML: {error}") from error
    listed = document.get("deployments") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise PrefectFileError(f"{path} has no list `deployments:`. Each item is a mapping with name and entrypoint")
    problems: list[str] = []
    entries = []
    for number, item in enumerate(listed, 1):
        entry = {"pull": document.get("pull"), **item}
        title = f"deployment {item.get('name') or f'number {number}'}"
        problems_of_item = [*_unfilled({k: v for k, v in entry.items() if k != "pull"}, environment), *_shape(entry)]
        problems += [f"{title}: {problem}" for problem in problems_of_item]
        if not problems_of_item:
            entries.append(Entry(_filled(entry, environment)))
    names = [f"{str(item.get('entrypoint')).rpartition(':')[2]}/{item.get('name')}" for item in listed]
    problems += [f"two deployments are named {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    return entries, problems


def _unfilled(node: Any, environment: Mapping[str, str], key: str = "") -> Iterator[str]:
    """Yield a problem for each placeholder that Prefect would store literally, or as the plain text of a secret."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _unfilled(value, environment, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _unfilled(value, environment, f"{key}[{number}]")
    elif isinstance(node, str):
        for variable in _VARIABLE.findall(node):
            if not environment.get(variable):
                yield f"{key}: the variable {variable} is not set, and would be deployed literally. Set it"
        for reference in _PLACEHOLDER.findall(node):
            yield (
                f"{key}: {reference} would be stored in plain text. "
                "Name the block in the configuration, ${secret:NAME}; the flow fetches it"
            )


def _shape(entry: dict[str, Any]) -> Iterator[str]:
    yield from _unknown(entry, KEYS, "")
    yield from (f"{key} is missing" for key in ("name", "entrypoint") if not isinstance(entry.get(key), str))
    pool = entry.get("work_pool")
    if not isinstance(pool, dict) or not isinstance(pool.get("name"), str):
        yield "work_pool.name is missing"
    else:
        yield from _unknown(pool, POOL_KEYS, "work_pool.")
    yield from _limit(entry.get("concurrency_limit"))
    slugs = []
    for number, schedule in enumerate(entry.get("schedules") or []):
        yield from _unknown(schedule, SCHEDULE_KEYS, f"schedules[{number}].")
        if sum(kind in schedule for kind in ("interval", "cron", "rrule")) != 1:
            yield f"schedules[{number}] takes exactly one of interval, cron and rrule"
        slugs.append(schedule.get("slug"))
        if not schedule.get("slug"):
            yield f"schedules[{number}] has no slug, which keeps its paused state across deployments"
    if len(set(slugs)) != len(slugs):
        yield "two schedules have the same slug"


def _limit(limit: Any) -> Iterator[str]:
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool)):
        return
    if not isinstance(limit, dict):
        yield "concurrency_limit takes a number, or {limit, collision_strategy}"
        return
    yield from _unknown(limit, LIMIT_KEYS, "concurrency_limit.")
    if not isinstance(limit.get("limit"), int) or limit["limit"] < 1:
        yield "concurrency_limit.limit must be a number from 1"
    if limit.get("collision_strategy") not in STRATEGIES:
        yield f"concurrency_limit.collision_strategy must be one of {', '.join(STRATEGIES)}"


def _unknown(mapping: dict[str, Any], known: tuple[str, ...], prefix: str) -> Iterator[str]:
    for key in mapping:
        if key not in known:
            similar = get_close_matches(str(key), known, 1)
            yield f"{prefix}{key} is not known" + (f", did you mean '{similar[0]}'?" if similar else "")


def _filled(node: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        # The worker fills in the pull steps when it pulls.
        return {key: value if key == "pull" else _filled(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, environment) for value in node]
    return _VARIABLE.sub(lambda match: environment[match[1]], node) if isinstance(node, str) else node
