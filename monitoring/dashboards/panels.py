"""A dashboard as a table of panels, and Grafana's JSON made of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from ai_workflow.slo import durations
from ai_workflow.slo.spec import Spec

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
KINDS: dict[str, Any] = {
    "stat": stat.Panel,
    "graph": timeseries.Panel,
    "table": table.Panel,
    "states": statetimeline.Panel,
}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and what its series are called; `{{label}}` is a label of the series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """What is shown, in which unit (Grafana's name of it), on how much of the 24 columns.

    Attributes:
        limits: values at which a line is drawn, or the colour changes from green to red.
        join: the label by which the queries of a table become its columns.
    """

    title: str
    description: str
    kind: str
    unit: str
    width: int
    queries: tuple[Query, ...]
    limits: tuple[float, ...] = ()
    low_is_bad: bool = False
    join: str = ""
    height: int = 8


Row = tuple[str, tuple[Panel, ...]]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard, of the values that a label of a metric has.

    Attributes:
        many: several may be chosen, or all.
        everywhere: no series lacks the label; where some do, they are shown when all are chosen.
    """

    name: str
    label: str
    metric: str
    many: bool = True
    everywhere: bool = True


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: rows of panels under their titles; `events` are drawn as marks over all graphs."""

    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    events: tuple[Query, ...] = ()
    links: Sequence[tuple[str, str]] = field(default=())


def limits(spec: Spec, alert: str, number: str) -> tuple[float, ...]:
    """Return at which value an alert fires, to draw it; nothing where the alert is not set."""
    entry = spec.entry(alert)
    if entry is None:
        return ()
    text = entry.numbers[number]
    return (float(durations.seconds(text)) if durations.PATTERN.fullmatch(text) else float(text),)


def render(board: Board, uid: str) -> dict[str, Any]:
    """Return Grafana's JSON of a dashboard; nothing in it changes from one build to the next."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the classic JSON, which files are read as
        made = build.Dashboard(board.title)
    made = made.uid(uid).description(board.description).tags(["ai-workflow"]).readonly().timezone("browser")
    made = made.time("now-6h", "now").refresh("30s").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in board.variables:
        made = made.with_variable(_variable(variable))
    for event in board.events:
        made = made.annotation(_event(event))
    for title, url in board.links:
        made = made.link(_link(title, url))
    number = 0
    for heading, panels in board.rows:
        number += 1
        made = made.with_row(build.Row(heading).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(_panel(panel, number))
    found: dict[str, Any] = json.loads(JSONEncoder().encode(made.build()))
    return _without_placement(found)


def _variable(variable: Variable) -> build.QueryVariable:
    made = build.QueryVariable(variable.name).label(variable.label).datasource(SOURCE)
    made = made.query(f"label_values({variable.metric}, {variable.name})").sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    made = made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    if variable.many:
        everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
        made = made.multi(True).include_all(True).all_value(".+" if variable.everywhere else ".*").current(everything)
    return made


def _event(event: Query) -> build.AnnotationQuery:
    made = build.AnnotationQuery().name(event.legend).datasource(SOURCE).enable(True).icon_color("blue")
    return made.expr(event.expr).use_value_for_time(True).title_format("{{model_version}}").tag_keys("model_version")


def _link(title: str, url: str) -> build.DashboardLink:
    made = build.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(url).icon("external link")
    return made.keep_time(True).include_vars(False).target_blank(False)


def _panel(panel: Panel, number: int) -> Any:
    made: Any = KINDS[panel.kind]()
    made = made.id(number).title(panel.title).description(panel.description).unit(panel.unit)
    made = made.span(panel.width).height(panel.height).datasource(SOURCE).thresholds(_steps(panel))
    for index, query in enumerate(panel.queries):
        made = made.with_target(_target(panel, query, chr(ord("A") + index)))
    return _LOOKS[panel.kind](made, panel)


def _target(panel: Panel, query: Query, name: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(name).datasource(SOURCE)
    if panel.kind == "table":
        return made.instant().format(PromQueryFormat.TABLE)
    return made.instant() if panel.kind == "stat" else made.range().exemplar("_bucket" in query.expr)


def _steps(panel: Panel) -> build.ThresholdsConfig:
    good, bad = ("red", "green") if panel.low_is_bad else ("green", "red")
    steps = [dashboard.Threshold(value=None, color=good if panel.limits else "green")]
    steps += [dashboard.Threshold(value=limit, color=bad) for limit in panel.limits]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _stat(made: Any, panel: Panel) -> Any:
    return made.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"])).no_value("no data")


def _graph(made: Any, panel: Panel) -> Any:
    legend = common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    made = made.legend(legend.display_mode(common.LegendDisplayMode.LIST)).tooltip(tooltip).fill_opacity(8)
    if not panel.limits:
        return made
    lines = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return made.thresholds_style(lines)


def _table(made: Any, panel: Panel) -> Any:
    joined = dashboard.DataTransformerConfig(id_val="joinByField", options={"byField": panel.join, "mode": "outer"})
    shown = {panel.join: panel.join} | {
        f"Value #{chr(ord('A') + index)}": query.legend for index, query in enumerate(panel.queries)
    }
    renamed = dashboard.DataTransformerConfig(
        id_val="organize", options={"renameByName": shown, "includeByName": dict.fromkeys(shown, True)}
    )
    return made.with_transformation(joined).with_transformation(renamed)


def _states(made: Any, panel: Panel) -> Any:
    color = build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)
    return made.color_scheme(color).legend(common_builders.VizLegendOptions().show_legend(False))


_LOOKS = {"stat": _stat, "graph": _graph, "table": _table, "states": _states}


def _without_placement(found: dict[str, Any]) -> dict[str, Any]:
    """Links and marks belong into the bar at the top; the SDK would hide them in a menu."""
    for item in (*found.get("links", []), *found.get("annotations", {}).get("list", [])):
        item.pop("placement", None)
    return found
