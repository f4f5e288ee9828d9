"""Join of labels to predictions: idempotent and order-independent; the last label of a prediction wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_workflow.quality import label_store, labels

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEPT, ORDER = "kept", "order"


def label_schema() -> pa.Schema:
    """Return the schema of labels to join; `kept` marks stored ones, `order` is the position in the source."""
    import pyarrow as pa

    return labels.schema().append(pa.field(KEPT, pa.bool_())).append(pa.field(ORDER, pa.int64()))


def match_schema() -> pa.Schema:
    """Return the schema of predictions to join; `kept` marks stored matches."""
    import pyarrow as pa

    return label_store.matches_schema().append(pa.field(KEPT, pa.bool_()))


@dataclass(frozen=True, slots=True)
class JoinedLabels:
    """The labels and predictions of some keys, joined.

    Args:
        labeled: key, version, prediction, made, label, time, first: one row for each prediction with a label; `time`
            is that of the label, `first` that of the first equal label.
        labels: key, label, time, kept: unique rows.
        matches: key, version, prediction, made, kept: unique predictions with a label.
        waiting: number of keys with a label and no prediction.
        contradicted: keys with different labels.
        repeated: number of labels that repeat a known one.
    """

    labeled: pd.DataFrame
    labels: pd.DataFrame
    matches: pd.DataFrame
    waiting: int
    contradicted: list[str]
    repeated: int


def join(sent: pd.DataFrame, predicted: pd.DataFrame, now: pd.Timestamp) -> JoinedLabels:
    """Join all labels of some keys to all predictions of these keys.

    The last label by time wins; of several at the same time, the last in the order of their text, so that the order of
    arrival does not matter. Of several predictions with one key, the first counts.

    Args:
        sent: labels with the columns of `label_schema`.
        predicted: predictions with the columns of `match_schema`.
        now: the time of labels without one.
    """
    events = _events(sent, now)
    last = events.drop_duplicates("key", keep="last")
    first = events.drop_duplicates(["key", "label"])[["key", "label", "time"]].rename(columns={"time": "first"})
    matches = predicted[predicted["key"].isin(last["key"])]
    matches = matches.sort_values(
        ["key", "made", "version", "prediction", KEPT], ascending=[True, True, True, True, False], na_position="last"
    ).drop_duplicates("key")
    winners = last[["key", "label", "time"]].merge(first, on=["key", "label"])
    labeled = matches.drop(columns=KEPT).merge(winners, on="key")
    differing = events.drop_duplicates(["key", "label"])["key"]
    return JoinedLabels(
        labeled,
        events,
        matches,
        len(last) - len(matches),
        sorted(differing[differing.duplicated()].unique()),
        len(sent) - int(sent[KEPT].sum()) - int((~events[KEPT]).sum()),
    )


def _events(sent: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Return unique labels with a time, sorted by key, time and text."""
    import pandas as pd

    by = ["key", "time", "label"]
    timed = sent[sent["time"].notna()].sort_values([*by, KEPT], ascending=[True, True, True, False]).drop_duplicates(by)
    untimed = sent[sent["time"].isna()].sort_values(["key", ORDER]).drop_duplicates("key", keep="last")
    if len(untimed):
        # A source without times has current labels: one is new only if it differs from the last known label.
        previous = timed.drop_duplicates("key", keep="last").set_index("key")["label"]
        untimed = untimed[untimed["label"].to_numpy() != untimed["key"].map(previous).to_numpy()]
        timed = pd.concat([timed, untimed.assign(time=now)], ignore_index=True).sort_values(by)
    return timed[["key", "label", "time", KEPT]]
