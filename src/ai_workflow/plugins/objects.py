"""Import of own code, and calls of it: every failure is an error with the file and line of the team."""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from ai_workflow.errors import AiWorkflowError, OwnCodeError, StageError
from ai_workflow.plugins import search_path
from ai_workflow.plugins.names import CodePath

_NOT_OWN = (Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))


def load(path: CodePath, key: str) -> tuple[ModuleType, Any]:
    """Import a module and return it with the object of that name.

    Args:
        path: module and name.
        key: the configuration key that names it, for messages.

    Raises:
        StageError: the module is not found or fails, needs a package that is not installed, or has no such name.
    """
    search_path.extend()
    label = f"{key} {path}"
    with calls(label, "the import"):
        try:
            module = importlib.import_module(path.module)
        except ModuleNotFoundError as error:
            raise _missing(label, path, error) from error
    _check_origin(label, module)
    if not hasattr(module, path.name):
        raise StageError(f"{label}: {module.__file__ or path.module} has no {path.name}", _listed(module))
    return module, getattr(module, path.name)


@contextmanager
def calls(label: str, action: str) -> Iterator[None]:
    """Raise errors of own code as OwnCodeError with file and line; those of this package and MemoryError as they are.

    Args:
        label: the configuration key and the name of the code.
        action: the call, such as `step`.
    """
    try:
        yield
    except (AiWorkflowError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise OwnCodeError(f"{label}: {action} raised {text}{_location(error)}", "Correct the code") from error


def location_of(code: Any) -> str:
    """Return ` at file:line` of the definition of a function; empty if it is not known."""
    code = getattr(code, "__code__", None) or getattr(type(code).__call__, "__code__", None)
    return f" at {code.co_filename}:{code.co_firstlineno}" if code else ""


def _missing(label: str, path: CodePath, error: ModuleNotFoundError) -> StageError:
    name = error.name or path.module
    if path.module == name or path.module.startswith(f"{name}."):
        folders = ", ".join(search_path.folders()) or "the folder of the pipeline file"
        return StageError(
            f"{label}: there is no module {name} in {folders}, and no installed package has it",
            "Correct the name, or put the file beside the pipeline file",
        )
    return StageError(
        f"{label}: the import needs the module {name}, which is not installed{_location(error)}",
        "Install the package that provides it where the pipeline runs, in the service as well",
    )


def _check_origin(label: str, module: ModuleType) -> None:
    """Raise if a module of the same name was imported from the folder of another pipeline before."""
    parent = importlib.import_module(module.__name__.rpartition(".")[0]).__path__ if "." in module.__name__ else None
    spec = PathFinder.find_spec(module.__name__, parent)
    used = getattr(module.__spec__, "origin", None)
    if spec and spec.origin and used and spec.origin != used:
        raise StageError(
            f"{label}: this process has imported {module.__name__} from {used}, and the pipeline means {spec.origin}",
            "Give one of the two modules another name",
        )


def _location(error: BaseException) -> str:
    """Return ` at file:line` of the last line of own code in a traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    files = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{file}:{line}" for file, line in files if _is_own(Path(file))]
    return f" at {own[-1]}" if own else ""


def _is_own(file: Path) -> bool:
    """Return whether a file is neither of Python, nor of an installed package, nor of this package."""
    is_installed = bool({"site-packages", "dist-packages"} & set(file.parts))
    return file.is_file() and not is_installed and not any(map(file.is_relative_to, _NOT_OWN))


def _listed(module: ModuleType) -> str:
    """Return the remedy for a wrong name: the public names that the module defines."""
    names = sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    )
    return f"Name what it defines: {', '.join(names)}" if names else "It defines no class and no function"
