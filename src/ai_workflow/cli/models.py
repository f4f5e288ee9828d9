"""`ai-workflow models`: what is published, what served when, and what a person may do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import yaml
from cyclopts import App, Parameter

from ai_workflow.cli.common_options import Where
from ai_workflow.cli.period_option import period
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import expired_files, promotion, pruning, verification
from ai_workflow.registry.retention_policy import RetentionDecision, size
from ai_workflow.telemetry.control_characters import escape

app = App(name="models", help="List, verify, pin, promote, roll back and prune published versions.")
app.command("ai_workflow.cli.answered:answered", name="answered", help="Show which version answered on a day.")


_HERE = Where()


@app.command(name="list")
def list_(*, where: Where = _HERE) -> None:
    """Show every version, the newest last: when it was published, its size, and what needs it."""
    registry = where.registry
    items = pruning.plan(registry, where.settings.retention)
    if not items:
        raise AiWorkflowError(
            f"there is no version in {registry.store.url(registry.folder)} yet. Publish the first with `make run`, or "
            "name another store with --store, --pipeline or --environment"
        )
    _print_table(items)


@app.command
def show(version: str = "latest", *, where: Where = _HERE) -> None:
    """Show what a version was made of: scores, data, files, and the trace of its training.

    Args:
        version: An alias or a version's name.
        where: Whose versions.
    """
    registry = where.registry
    found = registry.get(version)
    aliases = [alias for alias, name in registry.aliases().items() if name == found.name]
    held = [str(lease) for lease in registry.leases.holders().get(found.name, [])]
    about = {"aliases": aliases, "pinned": registry.state().pins.get(found.name), "leases": held, **found.manifest}
    about["files"] = about.pop("files")
    print(yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=120), end="")


@app.command
def history(*, at: str | None = None, where: Where = _HERE) -> None:
    """Show every change of the aliases, or what `latest` and `stable` were at a moment or on a day.

    Args:
        at: A moment as 2026-11-20T10:00, or a day as 2026-11-20; without an offset it is local time.
        where: Whose versions.
    """
    registry = where.registry
    lines = registry.history()
    if at is not None:
        begin, end = period(at)
        earlier = [line for line in lines if datetime.fromisoformat(line["time"]) <= begin]
        lines = earlier[-1:] + [line for line in lines if begin < datetime.fromisoformat(line["time"]) <= end]
    if not lines:
        raise AiWorkflowError(
            f"nothing served{f' at {at}' if at else ''}: no version had been published in "
            f"{registry.store.url(registry.folder)}"
        )
    for line in lines:
        when = datetime.fromisoformat(line["time"]).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
        aliases = "  ".join(f"{alias}={name}" for alias, name in line["aliases"].items())
        trace = f"  trace={line['trace_id'][:8]}" if line["trace_id"] else ""
        what = " ".join([line["action"], *line["versions"]])
        print(escape(f"{when}  {what:<24}  {aliases}  {line['reason']}  by {line['by']}{trace}"))


@app.command
def pin(version: str, *, reason: str, where: Where = _HERE) -> None:
    """Keep a version until it is unpinned.

    Args:
        version: An alias or a version's name.
        reason: Why, for whoever reads it in a year.
        where: Whose versions.
    """
    print(f"{pruning.pin(where.registry, version, reason)} is pinned")


@app.command
def unpin(version: str, *, reason: str = "by hand", where: Where = _HERE) -> None:
    """Let a pinned version go when its time comes.

    Args:
        version: An alias or a version's name.
        reason: Why.
        where: Whose versions.
    """
    print(f"{pruning.unpin(where.registry, version, reason)} is not pinned any more")


@app.command
def promote(version: str = "latest", *, reason: str = "by hand", where: Where = _HERE) -> None:
    """Point `stable` at a version that is whole, without waiting for the end of its probation.

    Args:
        version: An alias or a version's name.
        reason: Why.
        where: Whose versions.
    """
    registry = where.registry
    print(_aliases((promotion.promote(registry, version, reason) or registry.state()).aliases))


@app.command
def rollback(*, reason: str = "by hand", where: Where = _HERE) -> None:
    """Point `latest` back at `stable`.

    Args:
        reason: Why.
        where: Whose versions.
    """
    registry = where.registry
    before = registry.aliases()
    if before["latest"] == before["stable"]:
        raise AiWorkflowError(f"latest is stable already: {before['latest'] or 'there is no version'}")
    print(_aliases((promotion.roll_back(registry, reason) or registry.state()).aliases))


@app.command
def verify(version: str | None = None, *, where: Where = _HERE) -> None:
    """Hash the files of a version anew and ask its model the golden rows; without a version, of all.

    Args:
        version: An alias or a version's name.
        where: Whose versions.
    """
    registry, wrong = where.registry, 0
    for asked in [version] if version else registry.versions():
        name = asked
        try:
            with registry.leased(asked, "verify") as found:
                name, problems = found.name, verification.problems(registry, found, where.settings.model.timeout)
        except StoreError as error:
            problems = [str(error)]
        except AiWorkflowError:
            if version:
                raise
            # Deleted since they were listed.
            continue
        print(escape(f"{name}  {'ok' if not problems else problems[0]}"))
        for problem in problems[1:]:
            print(escape(f"{'':{len(name)}}  {problem}"))
        wrong += bool(problems)
    registry.history()
    if wrong:
        raise AiWorkflowError(f"{wrong} versions are not what was published. Roll back, or publish another")


@app.command
def prune(
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    where: Where = _HERE,
) -> None:
    """Delete the versions that nobody needs, and what is older than it is kept, after a person has said yes.

    Args:
        dry_run: Only show what would be deleted.
        yes: Do not ask.
        where: Whose versions.
    """
    registry, policy, now = where.registry, where.settings.retention, datetime.now(UTC)
    items = pruning.plan(registry, policy, verify_heartbeats=not dry_run)
    doomed, old = [item for item in items if not item.is_kept], expired_files.find(registry.store, policy, now)
    if items:
        _print_table(items)
    for kind, count, taken in expired_files.summary(old):
        print(f"{count} {kind}, {size(taken)}, older than {policy.days(kind):g} days")
    if not doomed and not old:
        print("nothing to delete")
        return
    total = size(sum(item.bytes for item in doomed) + sum(one.bytes for one in old))
    if dry_run:
        print(f"would release {total}")
        return
    if not yes and not _said_yes(f"Delete {len(doomed)} versions and {len(old)} others, {total}?"):
        print("nothing was deleted")
        return
    done = pruning.prune(registry, policy, [item.name for item in doomed], "by hand")
    for item in done.skipped:
        print(escape(f"{item.name} stays: {', '.join(item.reasons)}"))
    print(f"Released {size(done.bytes + expired_files.remove(registry.store, old, policy, now))}")


def _said_yes(question: str) -> bool:
    if not sys.stdin.isatty():
        raise AiWorkflowError("nobody can be asked here. Say --yes, or --dry-run to see the plan")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _print_table(items: Sequence[RetentionDecision]) -> None:
    rows = [("VERSION", "PUBLISHED", "SIZE", "KEPT BECAUSE")]
    for item in items:
        when = item.published.astimezone().strftime("%Y-%m-%d %H:%M")
        reasons = escape(", ".join(item.reasons)) or "- to be deleted"
        rows.append((item.name, when, size(item.bytes), reasons))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}")


def _aliases(aliases: dict[str, str | None]) -> str:
    return "  ".join(f"{alias}={name}" for alias, name in aliases.items())
