"""The message in docs/images/alert.png is one that the relay sends to Slack.

`make screenshots` draws it without Slack: title, colour, text and links as in the request body.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page

from ai_workflow.alerting import alertmanager_webhook
from ai_workflow.alerting.channels import slack
from ai_workflow.alerting.messages.neutralize import JOINER
from ai_workflow.alerting.messages.rendering import render
from tests.flows.conftest import page
from tests.monitoring.relay.running_relay import alert, webhook

__all__ = ["page"]
KEPT = os.environ.get("AIW_SCREENSHOTS")
_MARKS = {"🔴": "#d1344b", "🟠": "#e8852b", "🔵": "#3a7be3", "🟢": "#3aa337"}
_PAGE = """<meta charset="utf-8">
<body style="margin:0;padding:24px;background:#fff;font:15px/1.5 sans-serif;width:712px">{}"""
_MESSAGE = """<div style="border-left:4px solid {};padding:4px 14px;margin-bottom:18px;color:#1d1c1d">
<div style="font-weight:700;font-size:17px;margin-bottom:4px">{}</div>{}</div>"""


def attachment() -> dict[str, Any]:
    failed = alert(alertname="TrainingRunFailed", severity="ticket", pipeline="credit")
    failed["labels"] = {
        "alertname": "TrainingRunFailed", "severity": "ticket", "pipeline": "credit", "stage": "trainer",
    }  # fmt: skip
    failed["annotations"] |= {
        "summary": "The last training of credit has failed", "value": "1", "objective": "0", "unit": "failed",
        "trace_id": "4218d7be00000000", "stage": "trainer",
    }  # fmt: skip
    message = render(alertmanager_webhook.parse(orjson.dumps(webhook(failed))), "en", "UTC")
    return slack.FORMAT.body(message)["attachments"][0]  # type: ignore[no-any-return]


def drawn(body: dict[str, Any]) -> str:
    title, text = (block["text"]["text"].replace(JOINER, "") for block in body["blocks"])
    text = re.sub(r"<([^|>]+)\|([^>]+)>", r'<a href="\1" style="color:#1264a3;text-decoration:none">\2</a>', text)
    text = re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", text).replace("\n", "<br>")
    shown = _MESSAGE.format(body["color"], html.escape(title), text)
    for mark, colour in _MARKS.items():
        circle = (
            f'<span style="display:inline-block;width:12px;height:12px;border-radius:6px;background:{colour}"></span>'
        )
        shown = shown.replace(mark, circle)
    return shown


@pytest.mark.slow
def test_message_screenshot_shows_text_and_links(page: Page) -> None:
    page.set_viewport_size({"width": 760, "height": 200})
    page.set_content(_PAGE.format(drawn(attachment())))

    text = page.locator("body").inner_text()
    assert "The last training of credit has failed" in text
    assert "trace 4218d7be" in text
    assert page.locator("a").all_inner_texts() == ["Runbook", "Dashboard", "Silence"]
    if KEPT:
        page.screenshot(path=Path(KEPT) / "alert.png")
