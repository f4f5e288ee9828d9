"""Dashboard definitions, and their Grafana JSON."""

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
    """A PromQL expression, and the legend of its series; `{{label}}` is a label of the series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of a dashboard.

    Attributes:
        unit: name of the unit in Grafana.
        width: number of the 24 columns.
        limits: values with a threshold line, or at which the color changes from green to red.
        low_is_bad: whether values below the limits are red.
        join: label by which the queries of a table are joined as columns.
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
    """A dashboard variable with the values of a label of a metric.

    Attributes:
        many: whether several values or all may be selected.
        everywhere: whether every series has the label. Otherwise "All" includes series without it.
    """

    name: str
    label: str
    metric: str
    many: bool = True
    everywhere: bool = True


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard with rows of panels; `events` are annotations in all graphs."""

    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    events: tuple[Query, ...] = ()
    links: Sequence[tuple[str, str]] = field(default=())


def limits(spec: Spec, alert: str, parameter: str) -> tuple[float, ...]:
    """Return the threshold of an alert, to draw it; empty if the alert is not set."""
    entry = spec.entry(alert)
    if entry is None:
        return ()
    text = entry.parameters[parameter]
    return (float(durations.seconds(text)) if durations.PATTERN.fullmatch(text) else float(text),)


def render(board: Board, uid: str) -> dict[str, Any]:
    """Return the Grafana JSON of a dashboard, deterministically."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the classic JSON, the format of provisioned files
        builder = build.Dashboard(board.title)
    builder = builder.uid(uid).description(board.description).tags(["ai-workflow"]).readonly().timezone("browser")
    builder = builder.time("now-6h", "now").refresh("30s").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    builder = builder.with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in board.variables:
        builder = builder.with_variable(_variable(variable))
    for event in board.events:
        builder = builder.annotation(_event(event))
    for title, url in board.links:
        builder = builder.link(_link(title, url))
    panel_id = 0
    for heading, panels in board.rows:
        panel_id += 1
        builder = builder.with_row(build.Row(heading).id(panel_id))
        for panel in panels:
            panel_id += 1
            builder = builder.with_panel(_panel(panel, panel_id))
    content: dict[str, Any] = json.loads(JSONEncoder().encode(builder.build()))
    return _without_placement(content)


def _variable(variable: Variable) -> build.QueryVariable:
    builder = build.QueryVariable(variable.name).label(variable.label).datasource(SOURCE)
    builder = builder.query(f"label_values({variable.metric}, {variable.name})").sort(
        dashboard.VariableSort.ALPHABETICAL_ASC
    )
    builder = builder.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    if variable.many:
        everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
        builder = (
            builder.multi(True).include_all(True).all_value(".+" if variable.everywhere else ".*").current(everything)
        )
    return builder


def _event(event: Query) -> build.AnnotationQuery:
    builder = build.AnnotationQuery().name(event.legend).datasource(SOURCE).enable(True).icon_color("blue")
    return builder.expr(event.expr).use_value_for_time(True).title_format("{{model_version}}").tag_keys("model_version")


def _link(title: str, url: str) -> build.DashboardLink:
    builder = build.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(url).icon("external link")
    return builder.keep_time(True).include_vars(False).target_blank(False)


def _panel(panel: Panel, panel_id: int) -> Any:
    builder: Any = KINDS[panel.kind]()
    builder = builder.id(panel_id).title(panel.title).description(panel.description).unit(panel.unit)
    builder = builder.span(panel.width).height(panel.height).datasource(SOURCE).thresholds(_steps(panel))
    for index, query in enumerate(panel.queries):
        builder = builder.with_target(_target(panel, query, chr(ord("A") + index)))
    return _STYLES[panel.kind](builder, panel)


def _target(panel: Panel, query: Query, name: str) -> prometheus.Dataquery:
    builder = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(name).datasource(SOURCE)
    if panel.kind == "table":
        return builder.instant().format(PromQueryFormat.TABLE)
    return builder.instant() if panel.kind == "stat" else builder.range().exemplar("_bucket" in query.expr)


def _steps(panel: Panel) -> build.ThresholdsConfig:
    good, bad = ("red", "green") if panel.low_is_bad else ("green", "red")
    steps = [dashboard.Threshold(value=None, color=good if panel.limits else "green")]
    steps += [dashboard.Threshold(value=limit, color=bad) for limit in panel.limits]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _stat(builder: Any, panel: Panel) -> Any:
    return builder.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"])).no_value("no data")


def _graph(builder: Any, panel: Panel) -> Any:
    legend = common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    builder = builder.legend(legend.display_mode(common.LegendDisplayMode.LIST)).tooltip(tooltip).fill_opacity(8)
    if not panel.limits:
        return builder
    lines = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return builder.thresholds_style(lines)


def _table(builder: Any, panel: Panel) -> Any:
    joined = dashboard.DataTransformerConfig(id_val="joinByField", options={"byField": panel.join, "mode": "outer"})
    shown = {panel.join: panel.join} | {
        f"Value #{chr(ord('A') + index)}": query.legend for index, query in enumerate(panel.queries)
    }
    renamed = dashboard.DataTransformerConfig(
        id_val="organize", options={"renameByName": shown, "includeByName": dict.fromkeys(shown, True)}
    )
    return builder.with_transformation(joined).with_transformation(renamed)


def _states(builder: Any, panel: Panel) -> Any:
    color = build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)
    return builder.color_scheme(color).legend(common_builders.VizLegendOptions().show_legend(False))


_STYLES = {"stat": _stat, "graph": _graph, "table": _table, "states": _states}


def _without_placement(content: dict[str, Any]) -> dict[str, Any]:
    """Remove `placement`, with which the SDK would hide links and annotations in a menu."""
    for item in (*content.get("links", []), *content.get("annotations", {}).get("list", [])):
        item.pop("placement", None)
    return content
