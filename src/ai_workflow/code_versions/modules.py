"""Lookup of modules without importing them: their source, and whether they are part of an installed distribution."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from typing import Any

PACKAGE = "ai_workflow"
_INSTALLED = {"site-packages", "dist-packages"}
_NO_SOURCE = (*EXTENSION_SUFFIXES, ".pyc")


@dataclass(frozen=True, slots=True)
class Module:
    """A module; `source` is None if it has none, as a folder without `__init__.py`."""

    name: str
    file: Path | None
    source: bytes | None
    is_package: bool
    folders: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


class Finder:
    """Finder of modules, which it caches while one cache key is computed."""

    def __init__(self) -> None:
        self._modules: dict[str, Module | None] = {}
        self._installed: dict[str, bool] = {}

    def find(self, name: str) -> Module | None:
        """Return a module, or None if there is none of that name."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    def is_installed(self, module: Module) -> bool:
        """Return whether a module belongs to Python or to an installed distribution, so that its version counts."""
        top = module.name.partition(".")[0]
        if top in sys.stdlib_module_names or top in sys.builtin_module_names:
            return True
        if top not in self._installed:
            first = self.find(top) or module
            folder = first.file.parent if first.file else Path(next(iter(first.folders), "."))
            folder = folder.parent if first.is_package else folder
            # `pip install --target` installs into a folder with any name.
            self._installed[top] = bool(_INSTALLED & set(folder.parts)) or any(folder.glob("*.dist-info"))
        return self._installed[top]

    def _find(self, name: str) -> Module | None:
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None)
        if spec is not None:
            return _described(name, spec)
        if file := getattr(loaded, "__file__", None):
            return Module(name, Path(file), Path(file).read_bytes(), hasattr(loaded, "__path__"))
        folders = None
        if parent := name.rpartition(".")[0]:
            above = self.find(parent)
            if above is None or not above.is_package:
                return None
            folders = list(above.folders)
        return _searched(name, folders)


def _searched(name: str, folders: list[str] | None) -> Module | None:
    """Return a module found by `sys.meta_path`; `importlib.util.find_spec` would import its parent packages."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, folders, None)
        except KeyError:
            # For a folder without `__init__.py`, Python derives the paths from the parent, which is not imported.
            paths = (Path(each) / name.rpartition(".")[2] for each in folders or ())
            return Module(name, None, None, True, tuple(str(path) for path in paths if path.is_dir()))
        if spec is not None:
            return _described(name, spec)
    return None


def _described(name: str, spec: ModuleSpec) -> Module:
    folders = spec.submodule_search_locations
    file = Path(spec.origin) if spec.origin and spec.has_location else None
    return Module(name, file, _source(spec, file), folders is not None, tuple(folders or ()))


def _source(spec: ModuleSpec, file: Path | None) -> bytes | None:
    if file and file.is_file():
        return None if file.name.endswith(_NO_SOURCE) else file.read_bytes()
    loader: Any = spec.loader
    text = loader.get_source(spec.name) if hasattr(loader, "get_source") else None
    return text.encode() if text is not None else None
