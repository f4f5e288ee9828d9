"""Very many alerts do not hold the relay's event loop: health checks and other alerts are answered meanwhile."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests import machine_speed
from tests.monitoring.relay.fake_vendors import KINDS, Vendors
from tests.monitoring.relay.running_relay import LIVELY, ROOT, RunningRelay, alert, until, webhook

# CPU time of a callback on an ordinary machine.
LONGEST_SECONDS = 0.05
PROGRAM = ("-m", "tests.monitoring.relay.measured_relay")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_alerts_do_not_block_event_loop(folder: Path, vendors: Vendors, tmp_path: Path) -> None:
    worst = tmp_path / "worst"
    channels = [vendors.channel(kind, **LIVELY) for kind in KINDS]
    firing = [alert(f"many-{number}", pipeline=f"p{number}") for number in range(10_000)]
    bodies = [json.dumps(webhook(*firing, group=f"group {number}")).encode() for number in range(3)]
    over = [one | {"status": "resolved", "endsAt": "2025-01-15T10:12:00Z"} for one in firing]
    bodies.append(json.dumps(webhook(*over, group="group 0")).encode())
    assert len(bodies[0]) > 5_000_000
    with RunningRelay(folder, channels, program=(*PROGRAM, str(worst)), PYTHONPATH=str(ROOT)) as relay:
        relay.post(alert("first"))
        worst.write_text("")
        answers: list[int] = []

        def post() -> None:
            for body in bodies:
                headers = {"content-type": "application/json"}
                answers.append(relay.http.post("/alertmanager", content=body, headers=headers).status_code)

        posting = threading.Thread(target=post)
        posting.start()
        number = 0
        while posting.is_alive():
            number += 1
            assert relay.http.get("/health").status_code == 200
            assert relay.post(alert(f"other-{number}", alertname="Other"), group=f"o{number}").status_code == 200
        posting.join()
        assert relay.metric("alert_webhook_total", result="delivered", source="alertmanager") > len(bodies)
        until(lambda: any("Other" in text for text in vendors.texts(KINDS[0])))
    assert answers == [200] * len(bodies)
    assert _longest(worst) <= LONGEST_SECONDS * machine_speed.slowness(), worst.read_text()


def _longest(worst: Path) -> float:
    text = worst.read_text()
    return float(text.split()[0]) if text else 0.0
