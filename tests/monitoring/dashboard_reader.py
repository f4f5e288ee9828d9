"""A dashboard as Grafana would fill it for a reader: variables resolved, and every query asked of a real Prometheus."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.monitoring.live_prometheus import Prometheus

# What Grafana takes for $__rate_interval is four scrapes at least; a busy machine may miss some.
RATE_INTERVAL = "20s"
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_SPECIAL = re.compile(r"([\\^$.|?*+(){}\[\]])")
_VALUES = re.compile(r"label_values\((.+), (\w+)\)")

Series = dict[str, Any]
Choice = dict[str, str]


@dataclass
class Reader:
    """Somebody who looks at a dashboard from a moment on, and notes what is wrong with it.

    Attributes:
        began: the start of the time range, in seconds since 1970.
        faults: what was found, each with its dashboard and panel.
    """

    prometheus: Prometheus
    board: dict[str, Any]
    began: float
    faults: list[str] = field(default_factory=list)

    def look(self) -> list[str]:
        """Ask everything there is to ask, for every choice that a reader has, and return the faults."""
        seen: Counter[str] = Counter()
        for choice in self.choices():
            for panel in self.panels():
                found = self._panel(panel, choice)
                seen.update(found)
                if not sum(found.values()):
                    self._note(panel, f"shows nothing with {choice}")
        for name in [name for name, points in seen.items() if not points]:
            self.faults.append(f"{self.board['title']} / {name} never finds a number")
        for event in self.board["annotations"].get("list", []):
            self._event(event)
        return self.faults

    def panels(self) -> Iterator[dict[str, Any]]:
        """Yield the panels that ask something."""
        return (panel for panel in self.board["panels"] if panel["type"] != "row")

    def choices(self) -> list[Choice]:
        """Return what a reader can choose: all at once, and all by hand; of what takes one value, each."""
        found: list[Choice] = [{}]
        for variable in (one for one in self.board["templating"]["list"] if one["type"] == "query"):
            # The values of one may hang on what was chosen of those before it.
            found = [{**choice, variable["name"]: value} for choice in found for value in self._ways(variable, choice)]
        return found

    def _ways(self, variable: dict[str, Any], choice: Choice) -> list[str]:
        asked = _VALUES.fullmatch(variable["query"])
        assert asked, variable["query"]
        where = {"match[]": fill(asked[1], choice)}
        values: list[str] = self.prometheus.get(f"label/{asked[2]}/values", **where)
        if not values:
            self.faults.append(f"{self.board['title']}: variable {variable['name']} has no values with {choice}")
        if not variable["multi"]:
            return values
        # As Grafana writes several values into a PromQL string.
        return [variable["allValue"], "(" + "|".join(_SPECIAL.sub(r"\\\\\1", value) for value in values) + ")"]

    def _panel(self, panel: dict[str, Any], choice: Choice) -> dict[str, int]:
        """Return how many numbers each query of a panel finds."""
        names: Counter[str] = Counter()
        found = {}
        for target in panel["targets"]:
            series = self._run(target, choice)
            wanted = {*_LABEL.findall(target["legendFormat"]), *_joined_by(panel)}
            for one in series:
                if missing := sorted(label for label in wanted if not one["metric"].get(label)):
                    self._note(panel, f"{target['refId']} finds {one['metric']} without {', '.join(missing)}")
            names.update(_name(panel, target, one["metric"]) for one in series)
            found[f"{panel['title']} / {target['refId']}"] = sum(map(_numbers, series))
        for name in [name for name, count in names.items() if count > 1]:
            self._note(panel, f"calls {names[name]} series {name!r} with {choice}")
        return found

    def _run(self, target: dict[str, Any], choice: Choice) -> list[Series]:
        query = fill(target["expr"], choice)
        return self._range(query) if target.get("range") else self.prometheus.ask(query)

    def _range(self, query: str) -> list[Series]:
        since = {"start": self.began, "end": time.time(), "step": 1}
        found: list[Series] = self.prometheus.get("query_range", query=query, **since)["result"]
        return found

    def _event(self, event: dict[str, Any]) -> None:
        """A mark stands at the moment that its value is, in milliseconds, and says whose it is."""
        if not event.get("expr"):
            return
        where = f"{self.board['title']} / mark {event['name']!r}"
        series = self._range(fill(event["expr"], {}))
        if not series:
            self.faults.append(f"{where} is never drawn")
        wanted = {*_LABEL.findall(event["titleFormat"]), *event["tagKeys"].split(",")}
        for one in series:
            if missing := sorted(wanted - one["metric"].keys()):
                self.faults.append(f"{where} finds {one['metric']} without {', '.join(missing)}")
            at = float(one["values"][-1][1]) / 1000
            if not self.began - 86400 < at <= time.time() + 1:
                self.faults.append(f"{where} stands at {at}, which is not within the last day")

    def _note(self, panel: dict[str, Any], fault: str) -> None:
        self.faults.append(f"{self.board['title']} / {panel['title']} {fault}")


def fill(expr: str, choice: Choice) -> str:
    """Return an expression with Grafana's variables filled in."""
    known = {"__rate_interval": RATE_INTERVAL, **choice}
    return _VARIABLE.sub(lambda found: known[found[1]], expr)


def _name(panel: dict[str, Any], target: dict[str, Any], labels: dict[str, str]) -> str:
    if by := _joined_by(panel):
        return " ".join([target["refId"], *(labels.get(label, "") for label in by)])
    return _LABEL.sub(lambda found: labels.get(found[1], ""), target["legendFormat"])


def _joined_by(panel: dict[str, Any]) -> list[str]:
    """Return the labels that make the rows of a table, where it has columns of several queries."""
    steps = {step["id"]: step["options"] for step in panel.get("transformations", [])}
    if "joinByField" in steps:
        return [steps["joinByField"]["byField"]]
    shown = steps.get("organize", {}).get("renameByName", {})
    return [label for label in shown if not label.startswith("Value #")]


def _numbers(series: Series) -> int:
    values = series["values"] if "values" in series else [series["value"]]
    return sum(math.isfinite(float(value)) for _, value in values)
