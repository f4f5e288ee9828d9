"""Performance of a model version by its labels: totals, and a window of the latest labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ai_workflow.evaluation import scores
from ai_workflow.quality.labels import MICROSECONDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_QUANTILES = (0.5, 0.9)


WindowPerformance = TypedDict(
    "WindowPerformance",
    {
        "labeled": int,
        "correct": int,
        "accuracy": float | None,
        "lower": float | None,
        "upper": float | None,
        "from": float | None,
        "to": float | None,
    },
)


class VersionPerformance(TypedDict):
    """Performance of one version; `label_delay` is in seconds by quantile, `last_label` is a Unix timestamp."""

    labeled_total: int
    correct_total: int
    window: WindowPerformance
    last_label: float | None
    label_delay: dict[str, float | None]


class PerformanceWindow:
    """Totals and a sliding window of labels of one version; rows may be added in any order.

    Args:
        window: number of the latest labels in the window.
        since: earlier labels are not in the window, in microseconds since 1970; None: no limit.
        tolerance: largest difference of a number from its label; None: both are classes, and must be equal.
    """

    def __init__(self, window: int, since: int | None, tolerance: float | None) -> None:
        self._window, self._since, self._tolerance = window, since, tolerance
        self.labeled = self.correct = 0
        self._last: int | None = None
        self._latest: pd.DataFrame | None = None

    def add(self, labeled: pd.DataFrame) -> None:
        """Add rows of `label_join.JoinedLabels.labeled`; each prediction must be added once only."""
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
        # Ties in time are broken by the key, so that the window does not depend on the order of the rows.
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

    def describe(self, minimum: int, moment: float) -> VersionPerformance:
        """Return the performance as the evaluation record has it.

        Args:
            minimum: fewest labels in the window for which there is an accuracy.
            moment: current Unix timestamp; later labels count as of this moment.
        """
        return {
            "labeled_total": self.labeled,
            "correct_total": self.correct,
            "window": self._describe_window(minimum),
            "last_label": None if self._last is None else min(self._last / MICROSECONDS, moment),
            "label_delay": self._delays(),
        }

    def _describe_window(self, minimum: int) -> WindowPerformance:
        latest = self._latest
        if latest is None or latest.empty:
            return {
                "labeled": 0, "correct": 0, "accuracy": None, "lower": None, "upper": None, "from": None, "to": None
            }  # fmt: skip
        labeled, correct = len(latest), int(latest["correct"].sum())
        accuracy = lower = upper = None
        if labeled >= minimum:
            accuracy = correct / labeled
            lower, upper = scores.wilson_interval(accuracy, labeled)
        return {
            "labeled": labeled,
            "correct": correct,
            "accuracy": accuracy,
            "lower": lower,
            "upper": upper,
            "from": latest["time"].iloc[0] / MICROSECONDS,
            "to": latest["time"].iloc[-1] / MICROSECONDS,
        }

    def _delays(self) -> dict[str, float | None]:
        delays = None if self._latest is None else self._latest["delay"].dropna()
        if delays is None or delays.empty:
            return {f"{share:g}": None for share in _QUANTILES}
        return {f"{share:g}": float(delays.quantile(share)) for share in _QUANTILES}


def _microseconds(moments: pd.Series) -> np.ndarray:
    """Return (n,) int64 microseconds; the value for a missing timestamp has no meaning."""
    return moments.astype("datetime64[us]").astype("int64").to_numpy()
