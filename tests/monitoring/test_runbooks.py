"""Who is woken by an alert finds its page, and the page says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import monitoring
from tests.monitoring import tools

FOLDER = Path(str(monitoring.__file__)).parent / "runbooks"
ALERTS = sorted({str(rule["alert"]) for held in tools.groups().values() for rule in held if "alert" in rule})
HEADINGS = ["Impact", "Diagnosis", "Mitigation", "Silence"]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_page_that_says_what_to_do(alert: str) -> None:
    text = (FOLDER / f"{alert}.md").read_text()

    assert text.startswith(f"# {alert}\n\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS


def test_an_alert_links_to_its_page() -> None:
    for held in tools.groups().values():
        for rule in held:
            if "alert" in rule:
                assert str(rule["annotations"]["runbook_url"]).endswith(f"/{rule['alert']}.md")  # type: ignore[index]


def test_no_page_is_left_of_an_alert_that_is_gone() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == ALERTS


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        assert (FOLDER / link).exists()
