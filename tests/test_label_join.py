"""Whatever order labels come in, and however they are cut into runs, the same is joined."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_workflow.quality import label_join
from ai_workflow.storage.store import Store
from tests import labeled_predictions

pytestmark = pytest.mark.integration

NOW = pd.Timestamp("2026-11-20")
KEYS, LABELS = ("a", "b", "c"), ("no", "yes")
told = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(LABELS), st.integers(0, 3)), max_size=12)


def labels(rows: list[tuple[str, str, int]], kept: pd.DataFrame | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "key": pd.Series([row[0] for row in rows], dtype="str"),
            "label": pd.Series([row[1] for row in rows], dtype="str"),
            "time": pd.to_datetime([f"2026-11-1{row[2]}" for row in rows]).astype("datetime64[us]"),
            "kept": False,
            "order": range(len(rows)),
        }
    )
    if kept is None:
        return frame
    return pd.concat([kept.assign(kept=True, order=0), frame], ignore_index=True)


def predictions(*keys: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"key": pd.Series(keys, dtype="str"), "version": "v", "prediction": "yes", "made": NOW, "kept": False}
    )


def plain(found: label_join.JoinedLabels) -> list[tuple[str, ...]]:
    rows = found.labeled.sort_values("key")
    return [tuple(map(str, row)) for row in rows[["key", "label", "time", "first"]].itertuples(index=False)]


@settings(max_examples=30)
@given(told, st.randoms(use_true_random=False), st.integers(0, 12))
@pytest.mark.slow
def test_label_order_and_batching_do_not_change_join(
    rows: list[tuple[str, str, int]], chance: object, cut: int
) -> None:
    at_once = label_join.join(labels(rows), predictions("a", "b"), NOW)
    chance.shuffle(rows)  # type: ignore[attr-defined]
    first = label_join.join(labels(rows[:cut]), predictions("a", "b"), NOW)
    kept = first.labels[["key", "label", "time"]]
    second = label_join.join(labels(rows[cut:], kept), predictions("a", "b"), NOW)
    assert plain(second) == plain(at_once)
    assert second.contradicted == at_once.contradicted
    assert second.waiting == at_once.waiting


@settings(max_examples=30)
@given(told)
def test_last_label_of_prediction_is_used(rows: list[tuple[str, str, int]]) -> None:
    found = label_join.join(labels(rows), predictions(*KEYS), NOW).labeled.set_index("key")["label"].to_dict()
    last = {key: max((time, label) for name, label, time in rows if name == key)[1] for key in {row[0] for row in rows}}
    assert found == last


def test_predictions_with_legacy_ids_join_with_labels(tmp_path: Path) -> None:
    # Those ids counted the requests of a service; the ids of today are random.
    old, new = "5f0c1d2e3a4b-1-", "Zk3v9QmT0aYw1bXcR7dPeg-"
    store = Store(tmp_path / "store")
    labeled_predictions.predict(store, {f"{old}{row}": "yes" for row in range(3)})
    labeled_predictions.predict(
        store, {f"{new}{row}": "yes" for row in range(2)}, at=labeled_predictions.NOW - 5 * labeled_predictions.HOUR
    )
    labels = [(f"{old}0", "yes"), (f"{old}1", "no"), (f"{new}1", "yes"), ("5f0c1d2e3a4b-2-0", "yes")]
    labeled_predictions.write(tmp_path, [(*label, labeled_predictions.at(1)) for label in labels])

    joined = labeled_predictions.join(store, labeled_predictions.settings(tmp_path))

    assert labeled_predictions.counts(joined) == (3, 2)
