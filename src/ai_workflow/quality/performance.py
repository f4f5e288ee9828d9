"""Accuracy of a version in production: lifetime counters, and a window of the latest labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_workflow.evaluation import scores
from ai_workflow.quality.labels import MICROSECONDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_QUANTILES = (0.5, 0.9)


class PerformanceWindow:
    """The accuracy of one version; rows may be added in any order.

    Args:
        window: number of the latest labels.
        since: earliest time of a label in the window, in microseconds since 1970; None for no limit.
        tolerance: accepted distance of a number from its label; None if both are classes, which must be equal.
    """

    def __init__(self, window: int, since: int | None, tolerance: float | None) -> None:
        self._window, self._since, self._tolerance = window, since, tolerance
        self.labeled = self.correct = 0
        self._last: int | None = None
        self._latest: pd.DataFrame | None = None

    def add(self, labeled: pd.DataFrame) -> None:
        """Count rows of `label_join.JoinResult.labeled`; each prediction must be added once only."""
        import pandas as pd

        is_correct = self._is_correct(labeled)
        self.labeled += len(labeled)
        self.correct += int(is_correct.sum())
        time, first = _microseconds(labeled["time"]), _microseconds(labeled["first"])
        self._last = max(int(time.max()), self._last or 0) if len(time) else self._last
        delay = (first - _microseconds(labeled["made"])) / MICROSECONDS
        latest = pd.DataFrame({"key": labeled["key"].to_numpy(), "time": time, "correct": is_correct})
        latest["delay"] = pd.Series(delay).where(labeled["made"].notna().to_numpy()).clip(lower=0)
        if self._since is not None:
            latest = latest[latest["time"] >= self._since]
        parts = [part for part in (self._latest, latest) if part is not None]
        # Sorted by key at equal times, so that the window does not depend on the order of arrival.
        self._latest = pd.concat(parts).sort_values(["time", "key"]).tail(self._window)

    def _is_correct(self, labeled: pd.DataFrame) -> np.ndarray:
        import numpy as np
        import pandas as pd

        if self._tolerance is None:
            is_equal: np.ndarray = (labeled["prediction"] == labeled["label"]).fillna(False).to_numpy(bool)
            return is_equal
        numbers = [
            pd.to_numeric(labeled[name], errors="coerce").to_numpy("float64") for name in ("prediction", "label")
        ]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(numbers[0] - numbers[1]) <= self._tolerance)

    def describe(self, minimum: int, now: float) -> dict[str, Any]:
        """Return labeled_total, correct_total, window, last_label and label_delay for the record of the evaluation.

        Args:
            minimum: least number of labels in the window for an accuracy.
            now: current time; later labels are set to it.
        """
        return {
            "labeled_total": self.labeled,
            "correct_total": self.correct,
            "window": self._described_window(minimum),
            "last_label": None if self._last is None else min(self._last / MICROSECONDS, now),
            "label_delay": self._delays(),
        }

    def _described_window(self, minimum: int) -> dict[str, Any]:
        latest = self._latest
        if latest is None or latest.empty:
            empty = dict.fromkeys(("accuracy", "lower", "upper", "from", "to"))
            return {"labeled": 0, "correct": 0, **empty}
        labeled, correct = len(latest), int(latest["correct"].sum())
        accuracy = lower = upper = None
        if labeled >= minimum:
            accuracy = correct / labeled
            lower, upper = scores.wilson(accuracy, labeled)
        span = {"from": latest["time"].iloc[0] / MICROSECONDS, "to": latest["time"].iloc[-1] / MICROSECONDS}
        return {"labeled": labeled, "correct": correct, "accuracy": accuracy, "lower": lower, "upper": upper, **span}

    def _delays(self) -> dict[str, float | None]:
        delays = None if self._latest is None else self._latest["delay"].dropna()
        if delays is None or delays.empty:
            return {f"{share:g}": None for share in _QUANTILES}
        return {f"{share:g}": float(delays.quantile(share)) for share in _QUANTILES}


def _microseconds(times: pd.Series) -> np.ndarray:
    """Return (n,) int64 since 1970; the value of a missing time is undefined."""
    return times.astype("datetime64[us]").astype("int64").to_numpy()
