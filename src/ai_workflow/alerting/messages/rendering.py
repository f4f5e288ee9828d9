"""Rendering of a notification as a message: a title, and lines of plain, bold and linked spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ai_workflow.alerting.messages import catalogue, formatting
from ai_workflow.alerting.messages.catalogue import Catalogue, Language
from ai_workflow.alerting.messages.notification import Alert, Link, Notification
from ai_workflow.alerting.messages.sanitize import clip

MAX_SHOWN_ALERTS = 10
_MAX_TITLE_CHARACTERS = 120
_SUBJECT_LABELS = ("slo", "stage", "pipeline", "flow", "model_version", "feature", "channel", "source")
_ICONS = {"page": "🔴", "ticket": "🟠", "chat": "🔵"}
_RESOLVED_ICON = "🟢"
_DEFAULT_ICON = "🟠"


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a line: plain, bold, or a link."""

    text: str
    bold: bool = False
    url: str = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A message without markup; `severity` is the worst one that fires, or `resolved`."""

    title: str
    lines: tuple[Line, ...]
    severity: str


@dataclass(frozen=True, slots=True)
class SizeBudget:
    """Limits of a message: number of alerts, characters of each summary, and whether it has links."""

    alerts: int = MAX_SHOWN_ALERTS
    summary: int = 600
    links: bool = True


def render(notification: Notification, language: Language, zone: str, budget: SizeBudget | None = None) -> Message:
    """Return the message of a notification, with timestamps in the time zone `zone`."""
    budget = budget or SizeBudget()
    texts = catalogue.load(language)
    shown = notification.alerts[: budget.alerts]
    shared = _shared_links(shown, notification) if budget.links else ()
    lines: list[Line] = []
    for alert in shown:
        if lines:
            lines.append(())
        lines += _alert_lines(alert, texts, zone, budget, shared)
    hidden = len(notification.alerts) - len(shown) + notification.others
    if hidden:
        lines += [(), (Span(texts.more.format(count=hidden)),)]
    if shared:
        lines += [(), tuple(_links(shared, texts))]
    return Message(_title(notification, texts), tuple(lines), worst_severity(notification))


def worst_severity(notification: Notification) -> str:
    """Return the worst severity that fires in a notification, or `resolved`."""
    return next((alert.severity for alert in notification.alerts if alert.is_firing), "resolved")


def _title(notification: Notification, texts: Catalogue) -> str:
    firing = sum(alert.is_firing for alert in notification.alerts)
    resolved = len(notification.alerts) - firing
    first = notification.alerts[0]
    if len(notification.alerts) == 1:
        subject = _subject(first)
        title = f"{first.name}: {subject}" if subject else first.name
    else:
        counts = [texts.firing_count.format(count=firing)] if firing else []
        counts += [texts.resolved_count.format(count=resolved)] if resolved else []
        names = dict.fromkeys(alert.name for alert in notification.alerts)
        title = f"{texts.list_separator.join(counts)}: {texts.list_separator.join(names)}"
    heading = texts.separator.join(part for part in (_status(first, texts), title) if part)
    return clip(f"{_icon(first)} {heading}", _MAX_TITLE_CHARACTERS)


def _status(alert: Alert, texts: Catalogue) -> str:
    return texts.severities.get(alert.severity, alert.severity.upper()) if alert.is_firing else texts.resolved


def _icon(alert: Alert) -> str:
    return _ICONS.get(alert.severity, _DEFAULT_ICON) if alert.is_firing else _RESOLVED_ICON


def _subject(alert: Alert) -> str:
    """Return the labels that name the subject of an alert, SLO first; empty if it has none."""
    parts = [_value(alert, name) for name in _SUBJECT_LABELS]
    target = [_value(alert, name) for name in ("job", "instance")]
    return " / ".join(dict.fromkeys(filter(None, parts))) or " / ".join(filter(None, target))


def _value(alert: Alert, label: str) -> str:
    """Return the value of a label; metrics use `none` if there is no version or stage."""
    value = alert.labels.get(label, "")
    return "" if value == "none" else value


def _alert_lines(
    alert: Alert, texts: Catalogue, zone: str, budget: SizeBudget, shared: tuple[Link, ...]
) -> Iterator[Line]:
    window = alert.labels.get("window", "")
    name = f"{alert.name} ({window})" if window else alert.name
    heading = texts.separator.join(part for part in (_status(alert, texts), _subject(alert)) if part)
    yield (Span(f"{_icon(alert)} {heading}", bold=True), Span(f"{texts.separator}{name}"))
    # The summary of a resolved alert would still say that requests fail.
    if alert.is_firing and alert.summary and budget.summary:
        yield (Span(clip(alert.summary, budget.summary)),)
    if facts := _facts(alert, texts, zone):
        yield (Span(texts.separator.join(facts)),)
    own = [link for link in alert.links if link not in shared and not (_has_silence(shared) and link.kind == "silence")]
    if budget.links and own:
        yield tuple(_links(tuple(own), texts))


def _facts(alert: Alert, texts: Catalogue, zone: str) -> list[str]:
    facts = []
    if alert.value:
        value = formatting.number(alert.value, alert.unit)
        facts.append((texts.value if alert.is_firing else texts.last_value).format(value=value))
    if alert.objective:
        facts.append(texts.objective.format(value=formatting.number(alert.objective, alert.unit)))
    if alert.since and alert.until:
        duration = formatting.duration(alert.until - alert.since, texts.units)
        start, end = (formatting.timestamp(time, zone) for time in (alert.since, alert.until))
        facts.append(texts.lasted.format(duration=duration, start=start, end=end))
    elif alert.since:
        facts.append(texts.since.format(time=formatting.timestamp(alert.since, zone)))
    if alert.trace_id:
        facts.append(texts.trace.format(id=alert.trace_id[:8]))
    return facts


def _shared_links(shown: tuple[Alert, ...], notification: Notification) -> tuple[Link, ...]:
    """Return the links common to all alerts, and the silence of all firing alerts."""
    common = [link for link in shown[0].links if all(link in alert.links for alert in shown)]
    if notification.silence and not any(link.kind == "silence" for link in common):
        common.append(Link("silence", notification.silence))
    return tuple(common)


def _has_silence(links: tuple[Link, ...]) -> bool:
    return any(link.kind == "silence" for link in links)


def _links(links: tuple[Link, ...], texts: Catalogue) -> Iterator[Span]:
    for index, link in enumerate(links):
        if index:
            yield Span(texts.separator)
        yield Span(texts.links[link.kind], url=link.url)
