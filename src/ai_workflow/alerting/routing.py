"""Consistency of the channels in monitoring/slo.yaml with the channels of the relay."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ai_workflow.errors import AiWorkflowError
from ai_workflow.slo import reader


def problems(channels: Collection[str]) -> Iterator[str]:
    """Yield an error for each channel that is only in `channels` of slo.yaml or only in `chat`.

    Args:
        channels: the names in `chat`.
    """
    try:
        routed = reader.load().channels
    except AiWorkflowError as error:
        yield f"monitoring/slo.yaml cannot be read, so its channels are not checked: {error}"
        return
    for name in routed:
        if name not in channels:
            yield (
                f"channels of monitoring/slo.yaml names '{name}', which chat lacks: its alerts go to all channels. "
                f"Add a channel '{name}' to chat, or remove the name."
            )
    for name in channels:
        if routed and name not in routed:
            yield (
                f"chat has a channel '{name}', which channels of monitoring/slo.yaml lacks: Alertmanager sends it "
                "nothing. Add the name, or remove the channel."
            )
