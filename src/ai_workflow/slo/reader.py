"""Reader of SLO files; all problems are reported at once, with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.config.problems import ConfigError, Problem
from ai_workflow.config.reader import Node, read
from ai_workflow.slo import queries, validation
from ai_workflow.slo.fields import Fields
from ai_workflow.slo.spec import BUDGETED, KINDS, SEVERITIES, AlertEntry, Route, Slo, Spec, Window

PLACES = (
    "runbooks", "grafana", "prometheus", "monitoring_password_file", "relay", "relay_token_file", "heartbeat",
)  # fmt: skip
_SHARED_KEYS = (
    "period",
    "scrape_interval",
    "evaluation_interval",
    "keep_firing",
    "attribution",
    "windows",
    "routes",
    "places",
    "targets",
    "channels",
)
_ENTRY_KEYS = ("severity", "for")


def own() -> Path:
    """Return the SLO file of the project."""
    return project.path("monitoring", "slo.yaml")


def load(path: Path | None = None) -> Spec:
    """Return the content of an SLO file; missing sections are read from the SLO file of the project.

    Raises:
        ConfigError: all problems, with file, line and key.
    """
    path = path or own()
    top, problems = read(path, str(path))
    if top is None:
        raise ConfigError(problems)
    spec = _spec(_with_defaults(top), problems)
    if not problems:
        problems = validation.problems(spec)
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return spec


def _with_defaults(top: Node) -> Node:
    defaults, problems = read(own(), str(own()))
    if defaults is None or problems:
        raise ConfigError(problems)
    assert isinstance(defaults.value, dict)
    assert isinstance(top.value, dict)
    shared = {key: defaults.value[key] for key in _SHARED_KEYS if key in defaults.value}
    return Node(shared | top.value, top.file, top.line)


def _spec(top: Node, problems: list[Problem]) -> Spec:
    fields = Fields(top, "", problems)
    fields.choice("version", ("prometheus/v1",))
    windows = {name: _window(name, inner) for name, inner in _inner(fields, "windows")}
    shared = fields.mapping("labels") if "labels" in fields else {}
    slos, entries = [], []
    for item in fields.items("slos"):
        slo = _slo(item, windows, shared)
        slos.append(slo)
        if "alerts" in item:
            entries += [_entry(name, inner, slo.name) for name, inner in _inner(item, "alerts")]
        item.close()
    if not slos:
        fields.add_problem("slos", "there is no SLO")
    if "alerts" in fields:
        entries += [_entry(name, inner) for name, inner in _inner(fields, "alerts")]
    spec = Spec(
        file=top.file,
        service=fields.text("service"),
        period=fields.duration("period"),
        scrape=fields.duration("scrape_interval"),
        evaluation=fields.duration("evaluation_interval"),
        keep_firing=fields.duration("keep_firing"),
        attribution=fields.number("attribution"),
        slos=tuple(slos),
        entries=tuple(entries),
        routes={name: _route(inner) for name, inner in _inner(fields, "routes")},
        places=_places(fields.inner("places")),
        targets=_targets(fields.inner("targets")),
        channels=fields.texts("channels"),
    )
    fields.close()
    return spec


def _inner(fields: Fields, key: str) -> list[tuple[str, Fields]]:
    inner = fields.inner(key)
    return [(name, inner.inner(name)) for name in inner.names()]


def _window(name: str, fields: Fields) -> Window:
    window = Window(
        name=name,
        long=fields.duration("long"),
        short=fields.duration("short"),
        budget=fields.number("budget"),
        severity=fields.choice("severity", SEVERITIES),
        for_=fields.duration("for"),
        min_events=fields.number("least"),
    )
    fields.close()
    return window


def _entry(name: str, fields: Fields, slo: str = "") -> AlertEntry:
    severity = fields.choice("severity", SEVERITIES)
    for_ = fields.duration("for")
    parameters = {key: fields.text(key) for key in fields.names() if key not in _ENTRY_KEYS}
    return AlertEntry(name, severity, for_, parameters, fields.node.line, slo)


def _slo(fields: Fields, windows: Mapping[str, Window], shared: Mapping[str, str]) -> Slo:
    kind = fields.choice("kind", KINDS, "events")
    name = fields.text("name")
    description = fields.text("description", "")
    own = fields.mapping("labels") if "labels" in fields else {}
    if kind not in BUDGETED:
        return Slo(name, kind, description, fields.node.line, labels={**shared, **own})
    slo_queries = queries.build(kind, fields)
    alerting = fields.inner("alerting") if "alerting" in fields else None
    return Slo(
        name=name,
        kind=kind,
        description=description,
        line=fields.node.line,
        objective=fields.number("objective"),
        windows=_windows(fields, windows if kind != "accuracy" else {}, alerting),
        absent=fields.duration("absent") if "absent" in fields else "",
        alert=alerting.text("name", "SLOErrorBudgetBurn") if alerting else "SLOErrorBudgetBurn",
        labels={**shared, **own, **_texts(alerting, "labels")},
        annotations=_texts(alerting, "annotations"),
        lines={key: fields.line_of(key) for key in ("objective", "threshold", "metric", "sli")},
        **slo_queries,
    )


def _windows(fields: Fields, windows: Mapping[str, Window], alerting: Fields | None) -> tuple[Window, ...]:
    """Return the windows of an SLO, by default all, without the severities that `disable` of a Sloth file turns off."""
    names = fields.texts("windows", tuple(windows))
    for name in names:
        if name not in windows:
            fields.add_problem("windows", f"there is no window `{name}`. Choose from {', '.join(windows)}")
    disabled = set()
    for severity in ("page", "ticket"):
        if alerting and f"{severity}_alert" in alerting:
            inner = alerting.inner(f"{severity}_alert")
            if inner.text("disable", "false") == "true":
                disabled.add(severity)
    return tuple(window for name, window in windows.items() if name in names and window.severity not in disabled)


def _texts(fields: Fields | None, key: str) -> dict[str, str]:
    return fields.mapping(key) if fields and key in fields else {}


def _route(fields: Fields) -> Route:
    route = Route(fields.duration("wait"), fields.duration("interval"), fields.duration("repeat"))
    fields.close()
    return route


def _places(fields: Fields) -> dict[str, str]:
    places = {name: fields.text(name, "") for name in PLACES}
    fields.close()
    return places


def _targets(fields: Fields) -> dict[str, tuple[str, ...]]:
    return {job: fields.texts(job) for job in fields.names()}
