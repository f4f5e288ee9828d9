"""How good a version has been since its labels are known: all of them counted, the latest in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_workflow.evaluation import scores
from ai_workflow.quality.labels import MICROSECONDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_QUANTILES = (0.5, 0.9)


class Standing:
    """One version's; rows may be added in any order.

    Args:
        window: how many of the latest labels.
        since: no label before this moment is in the window, in microseconds since 1970; None: any may be.
        tolerance: how far a number may be from its label; None: both are classes, and must be the same.
    """

    def __init__(self, window: int, since: int | None, tolerance: float | None) -> None:
        self._window, self._since, self._tolerance = window, since, tolerance
        self.labeled = self.correct = 0
        self._last: int | None = None
        self._latest: pd.DataFrame | None = None

    def add(self, facts: pd.DataFrame) -> None:
        """Count rows as `joining` makes them; each prediction must come once only."""
        import pandas as pd

        right = self._is_correct(facts)
        self.labeled, self.correct = self.labeled + len(facts), self.correct + int(right.sum())
        time, first = _micros(facts["time"]), _micros(facts["first"])
        self._last = max(int(time.max()), self._last or 0) if len(time) else self._last
        delay = (first - _micros(facts["made"])) / MICROSECONDS
        latest = pd.DataFrame({"key": facts["key"].to_numpy(), "time": time, "right": right})
        latest["delay"] = pd.Series(delay).where(facts["made"].notna().to_numpy()).clip(lower=0)
        if self._since is not None:
            latest = latest[latest["time"] >= self._since]
        parts = [part for part in (self._latest, latest) if part is not None]
        # Equal moments are told apart by the key, so that the window is the same whatever came first.
        self._latest = pd.concat(parts).sort_values(["time", "key"]).tail(self._window)

    def _is_correct(self, facts: pd.DataFrame) -> np.ndarray:
        import numpy as np
        import pandas as pd

        if self._tolerance is None:
            right: np.ndarray = (facts["prediction"] == facts["label"]).fillna(False).to_numpy(bool)
            return right
        numbers = [pd.to_numeric(facts[name], errors="coerce").to_numpy("float64") for name in ("prediction", "label")]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(numbers[0] - numbers[1]) <= self._tolerance)

    def describe(self, minimum: int, moment: float) -> dict[str, Any]:
        """Return labeled_total, correct_total, window, last_label and label_delay as the evaluation's record has them.

        Args:
            minimum: fewer labels in the window than these tell no accuracy.
            moment: now; a label from the future is one of now.
        """
        return {
            "labeled_total": self.labeled,
            "correct_total": self.correct,
            "window": self._described_window(minimum),
            "last_label": None if self._last is None else min(self._last / MICROSECONDS, moment),
            "label_delay": self._delays(),
        }

    def _described_window(self, minimum: int) -> dict[str, Any]:
        latest = self._latest
        if latest is None or latest.empty:
            empty = dict.fromkeys(("accuracy", "lower", "upper", "from", "to"))
            return {"labeled": 0, "correct": 0, **empty}
        labeled, correct = len(latest), int(latest["right"].sum())
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


def _micros(moments: pd.Series) -> np.ndarray:
    """Return (n,) int64; what a missing moment gives means nothing."""
    return moments.astype("datetime64[us]").astype("int64").to_numpy()
