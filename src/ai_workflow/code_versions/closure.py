"""Import closure of a stage: all modules whose code can change its result, and the libraries that they use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from ai_workflow import json_text
from ai_workflow.code_versions import syntax_cache
from ai_workflow.code_versions.modules import PACKAGE, Finder, Module
from ai_workflow.code_versions.syntax import Import, Syntax
from ai_workflow.errors import StageError

# Libraries of this package whose versions may produce different bytes for the same rows.
_COMPUTE = {
    "lightgbm": "lightgbm",
    "numpy": "numpy",
    "optuna": "optuna",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
}
_ALWAYS = {"numpy", "pandas", "pyarrow"}


@dataclass(frozen=True, slots=True)
class Code:
    """Code of a stage: a digest of each file, and the names of distributions."""

    digests: tuple[str, ...]
    libraries: tuple[str, ...]


def read(module: str, *loaded: str, file: str | None = None) -> Code:
    """Return the code of a module, of all its imports, and of the modules in `loaded`.

    Python's own modules and installed distributions are not followed, except for this package and that of `module`.

    Args:
        module: full name of the module.
        loaded: full names of modules that it loads by a name in a setting.
        file: the source file, for a module that Python does not find by its name.

    Raises:
        StageError: a module is missing, or has no source that can be read.
    """
    code = _Closure(module, loaded, file).code()
    syntax_cache.save()
    return code


class _Closure:
    def __init__(self, module: str, loaded: tuple[str, ...], file: str | None) -> None:
        self._finder = Finder()
        self._tops = {PACKAGE, *(name.partition(".")[0] for name in (module, *loaded))}
        self._libraries: set[str] = set(_ALWAYS)
        self._queue = [self._root(module, file), *(self._root(name, None) for name in loaded)]

    def code(self) -> Code:
        """Return the digests of all modules, sorted, and the distributions."""
        digests, seen = set(), set()
        while self._queue:
            module = self._queue.pop()
            if module.name in seen:
                continue
            seen.add(module.name)
            self._queue += self._above(module)
            if module.source is None or self._is_left_out(module):
                continue
            parsed = self._syntax(module)
            links = self._links(module, parsed)
            if not parsed.is_empty:
                digests.add(_digest(parsed.digest, *links, *self._data(module, parsed)))
        return Code(tuple(sorted(digests)), tuple(sorted(self._libraries)))

    def _root(self, name: str, file: str | None) -> Module:
        module = self._finder.find(name)
        if module is None and file and Path(file).is_file():
            module = Module(name, Path(file), Path(file).read_bytes(), is_package=False)
        if module is None:
            raise StageError(
                f"module {name} of a stage is not found, so its code cannot be part of a cache key",
                "Add its folder to PYTHONPATH, or install its package",
            )
        if module.source is None:
            raise _without_source(module)
        return module

    def _above(self, module: Module) -> Iterator[Module]:
        """Yield the packages whose `__init__` runs before a module; those of ai_workflow only re-export."""
        parent = module.name.rpartition(".")[0]
        if parent and not _is_own(module) and (package := self._finder.find(parent)):
            yield package

    def _is_left_out(self, module: Module) -> bool:
        """Return whether a module or one of its packages is marked as unable to change a result."""
        name = module.name
        while name:
            parent = self._finder.find(name)
            if parent and parent.source is not None and name != PACKAGE and self._syntax(parent).is_marked:
                return True
            name = name.rpartition(".")[0]
        return False

    def _is_followed(self, module: Module) -> bool:
        return module.name.partition(".")[0] in self._tops or not self._finder.is_installed(module)

    def _links(self, module: Module, parsed: Syntax) -> list[str]:
        """Return the references of a file, by the code that they lead to, and queue their modules."""
        imports = {each: self._import(module, each) for each in dict.fromkeys(parsed.imports)}
        # Of two imports that bind one name, the later one holds; `import a.b` and `import a.c` bind the same `a`.
        order = sorted(imports, key=lambda each: (each.bound, "" if each.attribute else imports[each][-1]))
        for text in parsed.called:
            name = text.lstrip(".")
            self._import(module, Import("", len(text) - len(name), name))
        return [*(json_text.line(imports[each]) for each in order), *map(self._text, parsed.dotted)]

    def _text(self, text: str) -> str:
        """Return a digest of the module that a text names, else the text."""
        module = self._finder.find(text) if text.partition(".")[0] in self._tops else None
        return text if module is None else self._target(module)

    def _import(self, module: Module, each: Import) -> list[str]:
        target, attribute = self._resolved(module, each)
        if target is not None and self._is_followed(target):
            return [each.bound, attribute, self._target(target)]
        name = _absolute(module, each)
        self._use(name.partition(".")[0], is_own=_is_own(module))
        return [each.bound, each.attribute, name]

    def _resolved(self, module: Module, each: Import) -> tuple[Module | None, str]:
        """Return the module that defines an imported name, and its name there; re-exports are followed."""
        for _ in range(20):
            base = _absolute(module, each)
            if each.attribute not in ("", "*") and (inner := self._inner(base, each.attribute)):
                return inner, ""
            target = self._finder.find(base) if base else None
            if target is None or target.source is None or not self._is_followed(target):
                return target, each.attribute
            further = self._syntax(target).exported.get(each.attribute)
            if further is None:
                return target, each.attribute
            if not _is_own(target):
                self._queue.append(target)
            module, each = target, further
        return self._finder.find(_absolute(module, each)), each.attribute

    def _inner(self, base: str, name: str) -> Module | None:
        above = self._finder.find(base) if base else None
        return self._finder.find(f"{base}.{name}") if above and self._is_followed(above) and above.is_package else None

    def _target(self, module: Module) -> str:
        """Return a digest of the statements of a module and queue the module."""
        if self._is_left_out(module):
            return "left out"
        if module.source is None and module.file is not None:
            raise _without_source(module)
        self._queue.append(module)
        return self._syntax(module).digest if module.source is not None else ""

    def _use(self, top: str, *, is_own: bool) -> None:
        if top in _COMPUTE:
            self._libraries.add(_COMPUTE[top])
        elif not is_own:
            self._libraries.update(_distributions().get(top, ()))

    def _data(self, module: Module, parsed: Syntax) -> list[str]:
        """Return digests of the data files that a module names, beside it or in a package that it names."""
        named = [self._finder.find(text) for text in parsed.dotted if text.partition(".")[0] in self._tops]
        folders = {each.file.parent for each in (module, *filter(None, named)) if each.file}
        paths = sorted(folder / name for folder in folders for name in parsed.file_names if not name.endswith(".py"))
        return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if _is_file(path))

    def _syntax(self, module: Module) -> Syntax:
        try:
            return syntax_cache.read(module.source or b"")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            location, reason = module.file or module.name, str(error) or "it is nested too deeply"
            raise StageError(
                f"{location} cannot be read, so it cannot be part of a cache key: {reason}", "Correct the file"
            ) from error


def _without_source(module: Module) -> StageError:
    return StageError(
        f"module {module.name} has no Python source, so its code cannot be part of a cache key",
        "Keep its .py file beside it, or install it as a package, whose version then counts",
    )


def _is_own(module: Module) -> bool:
    return module.name.partition(".")[0] == PACKAGE


def _absolute(module: Module, each: Import) -> str:
    """Return the full name of the module that an import names."""
    if not each.level:
        return each.module
    parts = module.package.split(".")
    parts = parts[: len(parts) - each.level + 1]
    return ".".join([*parts, each.module] if each.module else parts)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
