"""Who is woken by an alert finds its page, and the page says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import monitoring
from tests.monitoring import prometheus_tools

FOLDER = Path(str(monitoring.__file__)).parent / "runbooks"
ALERTS = sorted({str(rule["alert"]) for held in prometheus_tools.groups().values() for rule in held if "alert" in rule})
HEADINGS = ["Impact", "Diagnosis", "Mitigation", "Silence"]


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_runbook_with_required_headings(alert: str) -> None:
    text = (FOLDER / f"{alert}.md").read_text()

    assert text.startswith(f"# {alert}\n\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS


def test_alert_rules_link_to_runbook() -> None:
    for held in prometheus_tools.groups().values():
        for rule in held:
            if "alert" in rule:
                assert str(rule["annotations"]["runbook_url"]).endswith(f"/{rule['alert']}.md")  # type: ignore[index]


def test_runbooks_match_existing_alerts() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == ALERTS


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_runbook_links_resolve_to_files(path: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        assert (FOLDER / link).exists()
