"""prefect.yaml, read as `prefect deploy` reads it; every problem of it is said at once, before anything is done."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.errors import AiWorkflowError

# What `prefect deploy` knows of a deployment and this project uses; anything else would be left out in silence.
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
    """prefect.yaml cannot be deployed as it stands."""

    @classmethod
    def of(cls, path: Path, problems: list[str]) -> PrefectFileError:
        """Return the error that names every problem."""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        return cls("\n".join([f"{path}: {count}, nothing was deployed:", *(f"  {one}" for one in problems)]))


@dataclass(frozen=True, slots=True)
class Entry:
    """One deployment of the file, with the variables of the environment filled in."""

    given: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default where it is absent or null."""
        value = self.given.get(key)
        return default if value is None else value

    @property
    def name(self) -> str:
        """The deployment's name."""
        return str(self.given["name"])


def read(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[list[Entry], list[str]]:
    """Return the deployments of a file, and what is wrong with it; the pull steps of the file are each entry's own.

    Raises:
        PrefectFileError: it cannot be read, is no YAML, or has no list of deployments.
    """
    try:
        whole = yaml.safe_load(path.read_text())
    except OSError as error:
        raise PrefectFileError(f"{path} cannot be read: {error.strerror}. Run this in the project's folder") from error
    except yaml.YAMLError as error:
        raise PrefectFileError(f"{path} is no YAML: {error}") from error
    listed = whole.get("deployments") if isinstance(whole, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise PrefectFileError(f"{path} has no list `deployments:`. Each one is a mapping with name and entrypoint")
    problems: list[str] = []
    entries = []
    for number, one in enumerate(listed, 1):
        given = {"pull": whole.get("pull"), **one}
        where = f"deployment {one.get('name') or f'number {number}'}"
        found = [*_unfilled({k: v for k, v in given.items() if k != "pull"}, environment), *_shape(given)]
        problems += [f"{where}: {problem}" for problem in found]
        if not found:
            entries.append(Entry(_filled(given, environment)))
    names = [str(one.get("name")) for one in listed]
    problems += [f"two deployments are named {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    return entries, problems


def _unfilled(given: Any, environment: Mapping[str, str], key: str = "") -> Iterator[str]:
    """Yield the placeholders that Prefect would store as they stand, or as the secret they mean."""
    if isinstance(given, dict):
        for name, value in given.items():
            yield from _unfilled(value, environment, f"{key}.{name}" if key else str(name))
    elif isinstance(given, list):
        for number, value in enumerate(given):
            yield from _unfilled(value, environment, f"{key}[{number}]")
    elif isinstance(given, str):
        for variable in _VARIABLE.findall(given):
            if not environment.get(variable):
                yield f"{key}: the variable {variable} is not set, and would be deployed literally. Set it"
        for reference in _PLACEHOLDER.findall(given):
            yield (
                f"{key}: {reference} would be stored in plain text. "
                "Name the block in the configuration, ${secret:NAME}; the flow fetches it"
            )


def _shape(given: dict[str, Any]) -> Iterator[str]:
    yield from _unknown(given, KEYS, "")
    yield from (f"{key} is missing" for key in ("name", "entrypoint") if not isinstance(given.get(key), str))
    pool = given.get("work_pool")
    if not isinstance(pool, dict) or not isinstance(pool.get("name"), str):
        yield "work_pool.name is missing"
    else:
        yield from _unknown(pool, POOL_KEYS, "work_pool.")
    yield from _limit(given.get("concurrency_limit"))
    slugs = []
    for number, one in enumerate(given.get("schedules") or []):
        yield from _unknown(one, SCHEDULE_KEYS, f"schedules[{number}].")
        if sum(kind in one for kind in ("interval", "cron", "rrule")) != 1:
            yield f"schedules[{number}] takes exactly one of interval, cron and rrule"
        slugs.append(one.get("slug"))
        if not one.get("slug"):
            yield f"schedules[{number}] has no slug, by which a pause by hand outlives a deployment"
    if len(set(slugs)) != len(slugs):
        yield "two schedules have the same slug"


def _limit(given: Any) -> Iterator[str]:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return
    if not isinstance(given, dict):
        yield "concurrency_limit takes a number, or {limit, collision_strategy}"
        return
    yield from _unknown(given, LIMIT_KEYS, "concurrency_limit.")
    if not isinstance(given.get("limit"), int) or given["limit"] < 1:
        yield "concurrency_limit.limit must be a number from 1"
    if given.get("collision_strategy") not in STRATEGIES:
        yield f"concurrency_limit.collision_strategy must be one of {', '.join(STRATEGIES)}"


def _unknown(given: dict[str, Any], known: tuple[str, ...], prefix: str) -> Iterator[str]:
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            yield f"{prefix}{key} is not known" + (f", did you mean '{near[0]}'?" if near else "")


def _filled(given: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(given, dict):
        # What is in the pull steps the worker fills in, when it pulls.
        return {key: value if key == "pull" else _filled(value, environment) for key, value in given.items()}
    if isinstance(given, list):
        return [_filled(value, environment) for value in given]
    return _VARIABLE.sub(lambda found: environment[found[1]], given) if isinstance(given, str) else given
