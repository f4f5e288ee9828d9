"""Temporary change of the log level of a running service."""

from __future__ import annotations

import asyncio
import logging

from ai_workflow.telemetry import logs


class LogLevel:
    """Log level that is set for some time and then restored."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(logs.ROOT)
        self._initial_level = self._logger.level
        self._timer: asyncio.TimerHandle | None = None

    def change(self, level: str, seconds: float) -> None:
        """Set a level for `seconds`."""
        if self._timer is not None:
            self._timer.cancel()
        self._logger.setLevel(level)
        logs.logger("serving").warning("log level %s for %.0f s", level, seconds)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._restore)

    def _restore(self) -> None:
        self._timer = None
        self._logger.setLevel(self._initial_level)
        logs.logger("serving").warning("log level %s again", logging.getLevelName(self._initial_level))
