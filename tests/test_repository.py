"""What must never be committed, and a lock that fits pyproject.toml: each rule is shown to catch what breaks it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
OTHER_LOCKS = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "package-lock.json", "yarn.lock"}
# Written in pieces, so that this file does not bear what it forbids.
FORBIDDEN = {
    "a registry's address": [
        "py" + r"pi\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs", "npmjs" + r"\.(org|com)",
        "yarn" + r"pkg\.com", "(deb|security)" + r"\.debian\.org", "crates" + r"\.io", "proxy" + r"\.golang",
        r"--(extra-)?index" + r"-url[ =]\S*:", r"https?://\S+/simp" + r"le\b",
    ],
    "a path of one machine": [
        r"(?<![\w.}/~-])/ho" + r"me/\w", r"(?<![\w.}/~-])/ro" + r"ot/", r"(?<![\w.}/~-])/Us" + r"ers/\w",
        r"(?<![\w.}/~-])/wo" + r"rk/", r"(?<![\w.}/~-])/opt/(wh" + r"eels|py" + r"pi)",
    ],
}  # fmt: skip


@pytest.mark.integration
def test_files_contain_no_registry_address_or_machine_path() -> None:
    assert list(_traces(ROOT, _files(ROOT))) == []


@pytest.mark.integration
def test_requirements_lock_is_only_lock_file() -> None:
    assert [path for path in _files(ROOT) if Path(path).name in OTHER_LOCKS] == []


def test_locked_versions_have_hashes() -> None:
    assert _without_hash(LOCK.read_text()) == []


def test_lock_file_matches_pyproject() -> None:
    assert _differences((ROOT / "pyproject.toml").read_text(), LOCK.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "see https://" + "py" + "pi.org/project/x",
        "--extra-index" + "-url http://mirror:8080/",
        "http://10.0.0.1/simp" + "le",
        "cd /ho" + "me/ann/project",
        'path = "/wo' + 'rk/main"',
        "/ro" + "ot/.cache",
    ],
)
def test_registry_address_or_machine_path_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.md").write_text(f"first line\n{text}\n")

    assert [trace.split(": ")[0] for trace in _traces(tmp_path, ["file.md"])] == ["file.md:2"]


def test_project_relative_path_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "file.md").write_text("docs/home/page var/wo" + "rk/x ${HOME}/root/y https://host/home/z ~/wo" + "rk/")

    assert list(_traces(tmp_path, ["file.md"])) == []


def test_locked_version_without_hash_is_reported() -> None:
    assert _without_hash("a==1 \\\n    --hash=sha256:00\n    # via b\nb==2\n    # via c\n") == ["b==2"]


@pytest.mark.parametrize(
    ("dependency", "expected"),
    [
        ("a>=1", []),
        ("A[extra]>=1", []),
        ("a>=2", ["a>=2 is locked at 1.5"]),
        ("b>=1", ["b is not locked", "a is locked, but not asked for"]),
    ],
)
def test_outdated_lock_file_is_reported(dependency: str, expected: list[str]) -> None:
    pyproject = f'[project]\nname = "p"\ndependencies = ["{dependency}"]\n'
    lock = "a==1.5 ; python_version >= '3.11' \\\n    --hash=sha256:00\n    # via p (pyproject.toml)\n"

    assert _differences(pyproject, lock) == expected


def _files(root: Path) -> list[str]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (root / name).is_file()]


def _traces(root: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        text = (root / name).read_bytes().decode(errors="ignore")
        for kind, patterns in FORBIDDEN.items():
            for match in re.finditer("|".join(patterns), text):
                yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {kind}: {match.group()}"


def _stanzas(lock: str) -> list[str]:
    return re.findall(r"^[A-Za-z0-9][^\n]*\n(?:[ ]+[^\n]*\n)*", lock, flags=re.MULTILINE)


def _without_hash(lock: str) -> list[str]:
    return [stanza.splitlines()[0] for stanza in _stanzas(lock) if "--hash=sha256:" not in stanza]


def _differences(pyproject: str, lock: str) -> list[str]:
    project = tomllib.loads(pyproject)["project"]
    asked = [
        *project["dependencies"],
        *(r for extra in project.get("optional-dependencies", {}).values() for r in extra),
    ]
    requirements = [Requirement(text) for text in asked]
    pins: dict[str, list[str]] = {}
    direct: set[str] = set()
    for stanza in _stanzas(lock):
        name, pinned = re.match(r"([^=\s]+)==([^\s;]+)", stanza).groups()  # type: ignore[union-attr]
        pins.setdefault(canonicalize_name(name), []).append(pinned)
        if f"{project['name']} (pyproject.toml)" in stanza:
            direct.add(canonicalize_name(name))
    names = {canonicalize_name(requirement.name) for requirement in requirements}
    problems = []
    for requirement in requirements:
        versions = pins.get(canonicalize_name(requirement.name), [])
        problems += [] if versions else [f"{requirement.name} is not locked"]
        problems += [
            f"{requirement} is locked at {v}"
            for v in versions
            if not requirement.specifier.contains(v, prereleases=True)
        ]
    return problems + [f"{name} is locked, but not asked for" for name in sorted(direct - names)]
