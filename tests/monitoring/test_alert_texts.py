"""What tests read of a chat message: each alert once, however little is told of it, and no title."""

from __future__ import annotations

import pytest

from tests.monitoring.monitoring_stack import told_of_alerts

HEADING = "**🟠 TICKET · shop** · CheckpointStale"


@pytest.mark.parametrize(
    "titles", ["🟠 TICKET · CheckpointStale: shop\n", "🟠 CheckpointStale: shop\n### 🟠 CheckpointStale: shop\n\n"]
)
def test_single_line_alert_is_parsed_without_title(titles: str) -> None:
    assert told_of_alerts(f"{titles}{HEADING}") == [f"{HEADING}\n"]


def test_multiple_alerts_are_parsed_separately() -> None:
    ended = "*🟢 RESOLVED · shop* · PipelineStalled\nresolved after 3 min"

    assert told_of_alerts(f"🟠 1 firing, 1 resolved\n{HEADING}\n\n{ended}") == [f"{HEADING}\n\n", f"{ended}\n"]
