"""`ai-workflow models`: list, verify, pin, promote, roll back and prune published versions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import yaml
from cyclopts import App, Parameter

from ai_workflow.cli.common_options import CommonOptions
from ai_workflow.cli.period_option import period
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import expired_files, promotion, pruning, verification
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_policy import RetentionDecision, size
from ai_workflow.telemetry.control_characters import escape

app = App(name="models", help="List, verify, pin, promote, roll back and prune published versions.")
app.command("ai_workflow.cli.answered:answered", name="answered", help="Show which version answered on a day.")

_DEFAULTS = CommonOptions()


@app.command(name="list")
def list_(*, options: CommonOptions = _DEFAULTS) -> None:
    """List the versions, the newest last: date, size, and why each is kept."""
    registry = options.registry
    items = pruning.plan(registry, options.settings.retention)
    if not items:
        raise _no_version(registry)
    _print_table(items)


@app.command
def show(version: str = "latest", *, options: CommonOptions = _DEFAULTS) -> None:
    """Show the manifest of a version: scores, data, files, and the trace of its training.

    Args:
        version: Alias or name of a version.
        options: Pipeline, environment and store.
    """
    registry = options.registry
    record = registry.get(version)
    aliases = [alias for alias, name in registry.aliases().items() if name == record.name]
    leases = [str(lease) for lease in registry.leases.holders().get(record.name, [])]
    pinned = registry.state().pins.get(record.name)
    manifest = {"aliases": aliases, "pinned": pinned, "leases": leases, **record.manifest}
    manifest["files"] = manifest.pop("files")
    print(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120), end="")


@app.command
def history(*, at: str | None = None, options: CommonOptions = _DEFAULTS) -> None:
    """Show the changes of the aliases, or the values of `latest` and `stable` at a time or on a day.

    Args:
        at: Time as 2026-11-20T10:00, or day as 2026-11-20; local time without an offset.
        options: Pipeline, environment and store.
    """
    registry = options.registry
    lines = registry.history()
    if at is not None:
        begin, end = period(at)
        earlier = [line for line in lines if datetime.fromisoformat(line["time"]) <= begin]
        lines = earlier[-1:] + [line for line in lines if begin < datetime.fromisoformat(line["time"]) <= end]
    if not lines and at is None:
        raise _no_version(registry)
    if not lines:
        raise AiWorkflowError(
            f"no version was published in {registry.store.url(registry.folder)} at {at}. Give a later time, or another "
            "store with --store, --pipeline or --environment"
        )
    for line in lines:
        time = datetime.fromisoformat(line["time"]).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
        aliases = "  ".join(f"{alias}={name}" for alias, name in line["aliases"].items())
        trace = f"  trace={line['trace_id'][:8]}" if line["trace_id"] else ""
        change = " ".join([line["action"], *line["versions"]])
        print(escape(f"{time}  {change:<24}  {aliases}  {line['reason']}  by {line['by']}{trace}"))


@app.command
def pin(version: str, *, reason: str, options: CommonOptions = _DEFAULTS) -> None:
    """Keep a version until it is unpinned.

    Args:
        version: Alias or name of a version.
        reason: Why it is kept; `models show` prints it.
        options: Pipeline, environment and store.
    """
    print(f"{pruning.pin(options.registry, version, reason)} is pinned")


@app.command
def unpin(version: str, *, reason: str = "by hand", options: CommonOptions = _DEFAULTS) -> None:
    """Remove the pin of a version, so that retention may delete it.

    Args:
        version: Alias or name of a version.
        reason: Reason in the change log.
        options: Pipeline, environment and store.
    """
    print(f"{pruning.unpin(options.registry, version, reason)} is not pinned any more")


@app.command
def promote(version: str = "latest", *, reason: str = "by hand", options: CommonOptions = _DEFAULTS) -> None:
    """Point `stable` at a verified version without waiting for the end of its probation.

    Args:
        version: Alias or name of a version.
        reason: Reason in the change log.
        options: Pipeline, environment and store.
    """
    registry = options.registry
    print(_aliases((promotion.promote(registry, version, reason) or registry.state()).aliases))


@app.command
def rollback(*, reason: str = "by hand", options: CommonOptions = _DEFAULTS) -> None:
    """Point `latest` back at `stable`.

    Args:
        reason: Reason in the change log.
        options: Pipeline, environment and store.
    """
    registry = options.registry
    before = registry.aliases()
    if before["latest"] is None:
        raise _no_version(registry)
    if before["latest"] == before["stable"]:
        raise AiWorkflowError(f"nothing to roll back: latest is stable ({before['latest']})")
    print(_aliases((promotion.roll_back(registry, reason) or registry.state()).aliases))


@app.command
def verify(version: str | None = None, *, options: CommonOptions = _DEFAULTS) -> None:
    """Verify the file hashes of a version and its answers to the golden rows; all versions if none is given.

    Args:
        version: Alias or name of a version.
        options: Pipeline, environment and store.
    """
    registry = options.registry
    failures = 0
    for requested in [version] if version else registry.versions():
        name = requested
        try:
            with registry.leased(requested, "verify") as leased:
                name = leased.name
                problems = verification.problems(registry, leased, options.settings.model.timeout)
        except StoreError as error:
            problems = [str(error)]
        except AiWorkflowError:
            if version:
                raise
            # Another process deleted it after it was listed.
            continue
        print(escape(f"{name}  {'ok' if not problems else problems[0]}"))
        for problem in problems[1:]:
            print(escape(f"{'':{len(name)}}  {problem}"))
        failures += bool(problems)
    registry.history()
    if failures:
        raise AiWorkflowError(f"{failures} versions differ from what was published. Roll back, or publish another")


@app.command
def prune(
    *,
    dry_run: bool = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    options: CommonOptions = _DEFAULTS,
) -> None:
    """Delete unused versions and expired files by the retention policy, after confirmation.

    Args:
        dry_run: Only show what would be deleted.
        yes: Delete without confirmation.
        options: Pipeline, environment and store.
    """
    registry = options.registry
    policy = options.settings.retention
    now = datetime.now(UTC)
    items = pruning.plan(registry, policy, verify_heartbeats=not dry_run)
    expired_versions = [item for item in items if not item.is_kept]
    expired = expired_files.find(registry.store, policy, now)
    if items:
        _print_table(items)
    for kind, count, size_bytes in expired_files.summary(expired):
        print(f"{count} {kind}, {size(size_bytes)}, older than {policy.days(kind):g} days")
    if not expired_versions and not expired:
        print("nothing to delete")
        return
    total = size(sum(item.bytes for item in expired_versions) + sum(file.bytes for file in expired))
    if dry_run:
        print(f"would release {total}")
        return
    if not yes and not _is_confirmed(f"Delete {len(expired_versions)} versions and {len(expired)} others, {total}?"):
        print("nothing was deleted")
        return
    done = pruning.prune(registry, policy, [item.name for item in expired_versions], "by hand")
    for item in done.skipped:
        print(escape(f"{item.name} stays: {', '.join(item.reasons)}"))
    print(f"Released {size(done.bytes + expired_files.remove(registry.store, expired, policy, now))}")


def _no_version(registry: Registry) -> AiWorkflowError:
    return AiWorkflowError(
        f"there is no version in {registry.store.url(registry.folder)} yet. Publish the first with `make run`, or "
        "name another store with --store, --pipeline or --environment"
    )


def _is_confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise AiWorkflowError("stdin is not a terminal. Pass --yes to confirm, or --dry-run to show the plan")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _print_table(items: Sequence[RetentionDecision]) -> None:
    rows = [("VERSION", "PUBLISHED", "SIZE", "KEPT BECAUSE")]
    for item in items:
        published = item.published.astimezone().strftime("%Y-%m-%d %H:%M")
        reasons = escape(", ".join(item.reasons)) or "- to be deleted"
        rows.append((item.name, published, size(item.bytes), reasons))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}")


def _aliases(aliases: dict[str, str | None]) -> str:
    return "  ".join(f"{alias}={name}" for alias, name in aliases.items())
