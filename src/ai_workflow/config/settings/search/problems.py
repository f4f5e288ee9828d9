"""Check of the parameters of a search by model family, without loading the library of the family."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings import lightgbm_bounds, mlp_params, trainer_params

_KNOWN = {"lightgbm": tuple(sorted(lightgbm_bounds.BOUNDS)), "torch_mlp": tuple(mlp_params.Params.model_fields)}
_MORE = {"lightgbm": ", and the other parameters of LightGBM"}
_OF_MACHINE = {"device", "device_type", "num_threads", "num_thread", "nthread", "nthreads", "n_jobs"}
_UNKNOWN = "is not a parameter of"


def problems(
    kind: str, params: dict[str, Any], samples: dict[str, tuple[Any, ...]], loss: object = None
) -> list[tuple[str, str]]:
    """Return the name of each invalid parameter of a search, and the reason.

    Args:
        kind: `trainer.kind`; own code declares its parameters itself.
        params: `trainer.params`.
        samples: values of each parameter of the search, all of which have to be valid.
        loss: `trainer.loss` as written.
    """
    found = {name: "is in trainer.params too; remove it there or here" for name in samples if name in params}
    for name in _OF_MACHINE.intersection(samples) if kind in _KNOWN else ():
        found[name] = "is about the machine, not about the model; set it in trainer.params"
    for number in range(max(map(len, samples.values()), default=0)):
        values = {name: given[min(number, len(given) - 1)] for name, given in samples.items() if given}
        for name, text in trainer_params.problems(kind, {**params, **values}, loss):
            if name in values:
                found.setdefault(name, text + known(kind) if _UNKNOWN in text and "known here" not in text else text)
    return list(found.items())


def known(kind: str) -> str:
    """Return the names of the parameters of a family, to be added to a message; empty for own code."""
    return f". Known are {', '.join(_KNOWN[kind])}{_MORE.get(kind, '')}" if kind in _KNOWN else ""
