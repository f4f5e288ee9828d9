"""Generator of synthetic customers: block `b` is a pure function of the seed and `b`.

Any worker can generate any rows in any order, and a shorter table is a prefix of a longer one. `target` (stays or
leaves) can be learned to about 0.93 accuracy, `amount` to an R² of about 0.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BLOCK = 50_000
_START, _SECONDS_APART = "2025-01-01", 10
_PLANS = ("basic", "plus", "pro")
_PLAN_WEIGHT = (0.9, 0.0, -0.6)
_REGIONS = ("north", "south", "east", "west")
_SIGNAL = 4.0


class SyntheticOptions(NamedTuple):
    """Options of the generator.

    Args:
        seed: different seeds give different customers.
        drift: shift of the inputs in standard deviations; their relation to the target stays.
        concept_drift: share of the signal that is lost; the inputs stay.
        bad: share of rows with an invalid age.
    """

    seed: int = 0
    drift: float = 0.0
    concept_drift: float = 0.0
    bad: float = 0.0


_DEFAULT = SyntheticOptions()


def block(number: int, options: SyntheticOptions = _DEFAULT) -> pa.Table:
    """Return BLOCK rows from `number * BLOCK` on: columns `id`, `timestamp`, the inputs, `amount` and `target`."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng([options.seed, number])
    ids = np.arange(number * BLOCK, (number + 1) * BLOCK)
    inputs = _inputs(random, options.drift)
    target, amount = _outcomes(random, inputs, 1 - options.concept_drift)
    ages = np.where(random.random(BLOCK) < options.bad, -1.0, inputs["age"])
    moments = np.datetime64(_START, "us") + ids * np.timedelta64(_SECONDS_APART, "s")
    joined = (moments - inputs["tenure"] * np.timedelta64(30, "D")).astype("datetime64[D]").astype("datetime64[us]")
    return pa.table(
        {
            "id": ids,
            "timestamp": moments,
            "age": pa.array(ages, mask=random.random(BLOCK) < 0.02),
            "income": pa.array(inputs["income"], mask=random.random(BLOCK) < 0.05),
            "tenure": inputs["tenure"],
            "calls": inputs["calls"],
            "usage": inputs["usage"],
            "plan": _words(_PLANS, inputs["plan"]),
            "region": pa.array(np.array(_REGIONS)[inputs["region"]].tolist(), mask=random.random(BLOCK) < 0.03),
            "autopay": inputs["autopay"],
            "joined": joined,
            "amount": amount,
            "target": _words(("stays", "leaves"), target),
        }
    )


def _inputs(random: np.random.Generator, drift: float) -> dict[str, np.ndarray]:
    return {
        "age": random.normal(42 + 14 * drift, 14, BLOCK).clip(18, 100).round(1),
        "income": random.lognormal(10.5 + 0.6 * drift, 0.6, BLOCK).round(2),
        "tenure": random.integers(0, 120, BLOCK),
        # 1.3 and 42 are the standard deviations of the two distributions.
        "calls": random.poisson(1.7 + 1.3 * drift, BLOCK),
        "usage": (random.gamma(2, 30, BLOCK) + 42 * drift).round(4),
        "plan": random.choice(len(_PLANS), BLOCK, p=[0.5, 0.3, 0.2]),
        "region": random.integers(0, len(_REGIONS), BLOCK),
        "autopay": random.random(BLOCK) < 0.6,
    }


def _outcomes(
    random: np.random.Generator, inputs: dict[str, np.ndarray], signal: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each customer leaves (0 or 1), and the amount spent next month."""
    import numpy as np

    plan = np.array(_PLAN_WEIGHT)[inputs["plan"]]
    pull = (
        0.05 * (42 - inputs["age"])
        + 1.1 * (inputs["calls"] - 1.7)
        - 0.025 * (inputs["tenure"] - 60)
        + plan
        + 0.8 * np.sin(inputs["usage"] / 20) * (inputs["calls"] > 1)
        - 0.4 * inputs["autopay"]
        - 0.1
    )
    leaves = random.random(BLOCK) < 1 / (1 + np.exp(-_SIGNAL * signal * pull))
    spending = 20 + 0.3 * inputs["usage"] - 12 * plan + 0.0002 * inputs["income"]
    amount = spending.mean() + signal * (spending - spending.mean()) + random.normal(0, 5, BLOCK)
    return leaves.astype("int64"), amount.round(2)


def _words(words: tuple[str, ...], chosen: np.ndarray) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(chosen, pa.int32()), pa.array(words)).dictionary_decode()
