"""A notice -> the text of one message, in a language: a title, and lines of plain, bold and linked pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ai_workflow.alerting.messages import catalogue
from ai_workflow.alerting.messages.catalogue import WORDS, Language, Words
from ai_workflow.alerting.messages.notification import Alert, Link, Notice
from ai_workflow.alerting.messages.sanitize import clip

MOST_ALERTS = 10
_LONGEST_TITLE = 120
_ABOUT = ("slo", "stage", "pipeline", "flow", "model_version", "feature", "channel", "source")
_MARKS = {"page": "🔴", "ticket": "🟠", "chat": "🔵"}
_RESOLVED_MARK = "🟢"
_UNKNOWN_MARK = "🟠"


@dataclass(frozen=True, slots=True)
class Piece:
    """A few words: plain, bold, or a link."""

    text: str
    bold: bool = False
    url: str = ""


Line = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A message without markup; `grave` is its worst severity that fires, or `resolved`."""

    title: str
    lines: tuple[Line, ...]
    grave: str


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be said: how many alerts, characters of each one's summary, and whether links are given."""

    alerts: int = MOST_ALERTS
    summary: int = 600
    links: bool = True


def render(notice: Notice, language: Language, zone: str, room: Room | None = None) -> Text:
    """Return the message that tells a notice; times are those of `zone`."""
    room = room or Room()
    words, shown = WORDS[language], notice.alerts[: room.alerts]
    lines: list[Line] = []
    shared = _shared_links(shown, notice) if room.links else ()
    for alert in shown:
        if lines:
            lines.append(())
        lines += _told(alert, words, zone, room, shared)
    hidden = len(notice.alerts) - len(shown) + notice.others
    if hidden:
        lines += [(), (Piece(words.more.format(hidden)),)]
    if shared:
        lines += [(), tuple(_links(shared, words))]
    return Text(_title(notice, words), tuple(lines), grave(notice))


def grave(notice: Notice) -> str:
    """Return the worst severity that fires in a notice, or `resolved` where nothing does."""
    return next((alert.severity for alert in notice.alerts if alert.is_firing), "resolved")


def _title(notice: Notice, words: Words) -> str:
    firing = sum(alert.is_firing for alert in notice.alerts)
    resolved = len(notice.alerts) - firing
    first = notice.alerts[0]
    names = list(dict.fromkeys(alert.name for alert in notice.alerts))
    if len(notice.alerts) == 1:
        said = f"{first.name}: {_about(first)}" if _about(first) else first.name
    else:
        counts = [words.firing_count.format(firing)] if firing else []
        counts += [words.resolved_count.format(resolved)] if resolved else []
        said = f"{words.comma.join(counts)}: {words.comma.join(names)}"
    label = words.severities.get(first.severity, first.severity.upper()) if firing else words.resolved
    return clip(f"{_mark(first)} {words.dot.join(part for part in (label, said) if part)}", _LONGEST_TITLE)


def _mark(alert: Alert) -> str:
    return _MARKS.get(alert.severity, _UNKNOWN_MARK) if alert.is_firing else _RESOLVED_MARK


def _about(alert: Alert) -> str:
    """Return the labels that name the subject of an alert, SLO first; empty where it has none."""
    parts = [_value(alert, name) for name in _ABOUT]
    where = [_value(alert, name) for name in ("job", "instance")]
    return " / ".join(dict.fromkeys(filter(None, parts))) or " / ".join(filter(None, where))


def _value(alert: Alert, label: str) -> str:
    """Return the value of a label; metrics write `none` where there is no version or stage."""
    value = alert.labels.get(label, "")
    return "" if value == "none" else value


def _told(alert: Alert, words: Words, zone: str, room: Room, shared: tuple[Link, ...]) -> Iterator[Line]:
    label = words.severities.get(alert.severity, alert.severity.upper()) if alert.is_firing else words.resolved
    window = alert.labels.get("window", "")
    name = f"{alert.name} ({window})" if window else alert.name
    head = words.dot.join(part for part in (label, _about(alert)) if part)
    yield (Piece(f"{_mark(alert)} {head}", bold=True), Piece(f"{words.dot}{name}"))
    # Of what is over it would still say that requests fail.
    if alert.is_firing and alert.summary and room.summary:
        yield (Piece(clip(alert.summary, room.summary)),)
    if facts := _facts(alert, words, zone):
        yield (Piece(words.dot.join(facts)),)
    own = [link for link in alert.links if link not in shared and not (_has_silence(shared) and link.kind == "silence")]
    if room.links and own:
        yield tuple(_links(tuple(own), words))


def _facts(alert: Alert, words: Words, zone: str) -> list[str]:
    facts = []
    if alert.value:
        said = words.number if alert.is_firing else words.last_number
        facts.append(said.format(catalogue.number(alert.value, alert.unit)))
    if alert.objective:
        facts.append(words.objective.format(catalogue.number(alert.objective, alert.unit)))
    if alert.since and alert.until:
        lasted = catalogue.duration(alert.until - alert.since, words)
        facts.append(words.lasted.format(lasted, *(catalogue.moment(at, zone) for at in (alert.since, alert.until))))
    elif alert.since:
        facts.append(words.since.format(catalogue.moment(alert.since, zone)))
    if alert.trace_id:
        facts.append(words.trace.format(alert.trace_id[:8]))
    return facts


def _shared_links(shown: tuple[Alert, ...], notice: Notice) -> tuple[Link, ...]:
    """Return the links that stand once, at the end: those of all alerts, and the silence of all that fire."""
    common = [link for link in shown[0].links if all(link in alert.links for alert in shown)]
    if notice.silence and not any(link.kind == "silence" for link in common):
        common.append(Link("silence", notice.silence))
    return tuple(common)


def _has_silence(links: tuple[Link, ...]) -> bool:
    return any(link.kind == "silence" for link in links)


def _links(links: tuple[Link, ...], words: Words) -> Iterator[Piece]:
    for index, link in enumerate(links):
        if index:
            yield Piece(words.dot)
        yield Piece(words.links[link.kind], url=link.url)
