"""What the Prefect API of the test server tells, page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ai_workflow.local.server import Server
from tests import prefect_retry
from tests.patience import PATIENCE

T = TypeVar("T")
_PAGE = 200
# Where a secret could come out: each is asked for every record there is.
EVERYTHING = (
    "logs", "artifacts", "artifacts/latest", "flow_runs", "task_runs", "flow_run_states", "block_documents", "flows",
    "deployments", "variables", "events",
)  # fmt: skip


class Api:
    """Reads one server."""

    def __init__(self, server: Server) -> None:
        self._client = prefect_retry.client(server.api_url)

    def all(self, what: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """Yield every record of a kind that a filter lets through."""
        if what == "events":
            yield from self._events()
            return
        if what.endswith("_run_states"):
            kind = what.removesuffix("_states")
            for run in self.all(f"{kind}s"):
                yield from self._client.get(f"/{what}/", params={f"{kind}_id": run["id"]}).json()
            return
        offset = 0
        while True:
            reply = self._client.post(f"/{what}/filter", json={"limit": _PAGE, "offset": offset, **asked})
            reply.raise_for_status()
            page = reply.json()
            yield from page
            offset += len(page)
            if len(page) < _PAGE:
                return

    def _events(self) -> Iterator[dict[str, Any]]:
        reply = self._client.post("/events/filter", json={"limit": 50})
        while True:
            reply.raise_for_status()
            page = reply.json()
            yield from page["events"]
            if not page["next_page"]:
                return
            reply = self._client.get(page["next_page"])

    def text(self, what: str) -> str:
        """Return all records of a kind as one text."""
        return "\n".join(map(str, self.all(what)))

    def logs(self, flow_run_id: str | None) -> list[str]:
        """Return the messages of a run once its last one is there: they are sent in the background."""
        asked = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}}

        def sent() -> list[str]:
            messages = [line["message"] for line in self.all("logs", **asked)]
            return messages if any("Finished in state" in text for text in messages) else []

        return until(sent)

    def artifacts(self, flow_run_id: str | None) -> dict[str, dict[str, Any]]:
        """Return the artifacts of a run by their key."""
        asked = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        return {str(found["key"]): found for found in self.all("artifacts", **asked)}


def until(found: Callable[[], list[T]]) -> list[T]:
    """Return the first answer that is not empty."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := found()):
        assert time.monotonic() < deadline, f"it did not come within {PATIENCE:g} s"
        time.sleep(0.1)
    return answer
