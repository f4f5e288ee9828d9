"""The log level of a running service: raised for a while, then what it was."""

from __future__ import annotations

import asyncio
import logging

from ai_workflow.telemetry import logs


class LogLevel:
    """Changes the level for some time; the one it began with comes back by itself."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(logs.ROOT)
        self._usual = self._logger.level
        self._timer: asyncio.TimerHandle | None = None

    def change(self, level: str, seconds: float) -> None:
        """Set a level for so many seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self._logger.setLevel(level)
        logs.logger("serving").warning("log level %s for %.0f s", level, seconds)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._back)

    def _back(self) -> None:
        self._timer = None
        self._logger.setLevel(self._usual)
        logs.logger("serving").warning("log level %s again", logging.getLevelName(self._usual))
