"""Suggestions of parameters by Optuna: a function of the seed and the finished trials, without state."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Search, SearchParameter
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

# Parameters of a trial, and its value; None for a failed trial.
FinishedTrial = tuple[Mapping[str, Any], float | None]


def require_optuna() -> None:
    """Raise StageError if Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise StageError(
            "trainer.search needs the package optuna, which is not installed",
            "Install it: .venv/bin/pip install -e '.[search]', or pip install 'ai-workflow[search]'",
        )


def suggest(search: Search, finished: Sequence[FinishedTrial], *, maximize: bool) -> dict[str, Any]:
    """Return the parameters of the next trial, by the tree-structured Parzen estimator (Bergstra et al. 2011).

    The sampler is seeded by the seed and the number of the trial, so that an interrupted search continues as one that
    was never stopped.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    digest = hashlib.sha256(f"{search.seed}/{len(finished)}".encode()).digest()
    sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"))
    study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
    space = {name: _distribution(search.parameters[name]) for name in sorted(search.parameters)}
    for params, value in finished:
        drawn = {name: _drawn(search.parameters[name], params[name]) for name in space}
        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(optuna.trial.create_trial(params=drawn, distributions=space, value=value, state=state))
    suggested: dict[str, Any] = {}

    def draw(trial: Trial) -> float:
        suggested.update({name: _suggestion(trial, name, search.parameters[name]) for name in space})
        return 0.0

    study.optimize(draw, n_trials=1)
    return suggested


def _distribution(parameter: SearchParameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices is not None:
        # By index, because a choice may be a list.
        return CategoricalDistribution(range(len(parameter.choices)))
    low, high = parameter.low, parameter.high
    assert low is not None
    assert high is not None
    if parameter.is_whole:
        return IntDistribution(int(low), int(high), log=parameter.log)
    return FloatDistribution(low, high, log=parameter.log)


def _drawn(parameter: SearchParameter, value: Any) -> Any:
    """Return the value as Optuna has it."""
    return value if parameter.choices is None else _index(parameter.choices, value)


def _index(choices: Sequence[Any], value: Any) -> int:
    # 1, 1.0 and True are equal, and different choices.
    return next(number for number, choice in enumerate(choices) if repr(choice) == repr(value))


def _suggestion(trial: Trial, name: str, parameter: SearchParameter) -> Any:
    low, high = parameter.low, parameter.high
    if parameter.choices is not None:
        return parameter.choices[trial.suggest_categorical(name, range(len(parameter.choices)))]
    assert low is not None
    assert high is not None
    if parameter.is_whole:
        return int(trial.suggest_int(name, int(low), int(high), log=parameter.log))
    return float(trial.suggest_float(name, low, high, log=parameter.log))
