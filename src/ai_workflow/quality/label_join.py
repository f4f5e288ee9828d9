"""Joins labels to predictions: each prediction once, by its last label, in whatever order and how often they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_workflow.quality import label_store, labels

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEPT, ORDER = "kept", "order"


def label_schema() -> pa.Schema:
    """Return the columns of labels to be joined: whether they are kept already, and their order in their source."""
    import pyarrow as pa

    return labels.schema().append(pa.field(KEPT, pa.bool_())).append(pa.field(ORDER, pa.int64()))


def match_schema() -> pa.Schema:
    """Return the columns of predictions to be joined: whether they are kept already."""
    import pyarrow as pa

    return label_store.matches_schema().append(pa.field(KEPT, pa.bool_()))


@dataclass(frozen=True, slots=True)
class JoinedLabels:
    """Result of the join of labels and predictions of some keys.

    Args:
        facts: key, version, prediction, made, label, time, first: one row for each prediction that has a label; `time`
            is that of the label, `first` is when the same was said first.
        labels: key, label, time and whether they are kept: each once.
        matches: key, version, prediction, made and whether they are kept: those with a label, each once.
        waiting: how many keys have a label and no prediction.
        contradicted: keys with labels that differ.
        repeated: labels that say what was known already.
    """

    facts: pd.DataFrame
    labels: pd.DataFrame
    matches: pd.DataFrame
    waiting: int
    contradicted: list[str]
    repeated: int


def join(told: pd.DataFrame, predicted: pd.DataFrame, moment: pd.Timestamp) -> JoinedLabels:
    """Join all labels of some keys to all predictions of them.

    Of several labels the last by time counts; of several at the same time, the last in the order of their text, so that
    the order in which they came does not matter. Of several predictions with one key the first made counts.

    Args:
        told: columns of `label_schema`.
        predicted: columns of `match_schema`.
        moment: the time of labels that bear none.
    """
    events = _events(told, moment)
    last = events.drop_duplicates("key", keep="last")
    first = events.drop_duplicates(["key", "label"])[["key", "label", "time"]].rename(columns={"time": "first"})
    matches = predicted[predicted["key"].isin(last["key"])]
    matches = matches.sort_values(
        ["key", "made", "version", "prediction", KEPT], ascending=[True, True, True, True, False], na_position="last"
    ).drop_duplicates("key")
    winners = last[["key", "label", "time"]].merge(first, on=["key", "label"])
    facts = matches.drop(columns=KEPT).merge(winners, on="key")
    differing = events.drop_duplicates(["key", "label"])["key"]
    return JoinedLabels(
        facts,
        events,
        matches,
        len(last) - len(matches),
        sorted(differing[differing.duplicated()].unique()),
        len(told) - int(told[KEPT].sum()) - int((~events[KEPT]).sum()),
    )


def _events(told: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Return labels with a time, each once, in the order in which they hold: by key, time and text."""
    import pandas as pd

    by = ["key", "time", "label"]
    timed = told[told["time"].notna()].sort_values([*by, KEPT], ascending=[True, True, True, False]).drop_duplicates(by)
    now = told[told["time"].isna()].sort_values(["key", ORDER]).drop_duplicates("key", keep="last")
    if len(now):
        # A source without moments says what holds now: that is news only where something else held before.
        before = timed.drop_duplicates("key", keep="last").set_index("key")["label"]
        now = now[now["label"].to_numpy() != now["key"].map(before).to_numpy()]
        timed = pd.concat([timed, now.assign(time=moment)], ignore_index=True).sort_values(by)
    return timed[["key", "label", "time", KEPT]]
