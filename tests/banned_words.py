"""Words that docs, code and comments must not use, and the count that each file still may have.

`python -m tests.banned_words` fails where a file has more than tests/banned_words.txt allows; `--update` writes the
counts of today there, and refuses if the total rises.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = Path("tests/banned_words.txt")
SCOPE = (
    "src", "flows", "blocks", "deploy", "monitoring", "pipelines", "config", "docs", ".github", ".ci", ".devcontainer",
    ":(glob)*.md", "Makefile", "pyproject.toml", "prefect.yaml", ".env.example", ".pre-commit-config.yaml",
)  # fmt: skip
BINARY = {".png", ".svg", ".ico", ".pdf", ".gz", ".parquet"}
WORDS = (
    "whoever", "nobody", "somebody", "ours", "theirs", "anew", "so many", "told", "tells?", "telling", "asks?", "asked",
    "asking", "hears?", "heard", "mend(?:s|ed|ing)?", "kn[eo]wn? of", "knows of", "hand(?:s|ed|ing)? on",
    "let(?:s|ting)? go", "c[oa]mes? to be", "sees? to", "look(?:s|ed|ing)? after",
)  # fmt: skip
# A break between two words may be a line break inside a comment. Exempt: URLs, `file.tell()`, a key of stored records.
_WORD = re.compile(rf"(?<![a-z0-9])(?:{'|'.join(WORDS)})(?![a-z0-9])".replace(" ", r"\s+(?:#\s*)?"), re.IGNORECASE)
_EXEMPT = re.compile(r"https?://\S+|\.tell\(|\bdef tell\(")


def count(text: str) -> int:
    """Return how many banned words a text has."""
    return len(_WORD.findall(_EXEMPT.sub(" ", text)))


def counts(root: Path) -> dict[str, int]:
    """Return `{path: count}` of the files in scope that have banned words; git decides what belongs to the project."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", *SCOPE]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = {name: root / name for name in names if name and Path(name).suffix not in BINARY}
    numbers = {name: count(path.read_text(errors="ignore")) for name, path in texts.items() if path.is_file()}
    return {name: number for name, number in sorted(numbers.items()) if number}


def allowed(root: Path) -> dict[str, int]:
    """Return `{path: count}` of the file of allowances."""
    text = (root / ALLOWED).read_text() if (root / ALLOWED).exists() else ""
    # Marks of a merge conflict are passed over: `--update` then writes the file of both sides.
    return {path: int(number) for number, path in re.findall(r"^(\d+) (.+)$", text, flags=re.MULTILINE)}


def main(root: Path = ROOT, *options: str) -> int:
    """Print each file with too many banned words, or with `--update` write what is there now."""
    now, before = counts(root), allowed(root)
    if "--update" in options:
        if before and sum(now.values()) > sum(before.values()):
            print(f"banned words: {sum(now.values())}, allowed are {sum(before.values())}. Remove some first.")
            return 1
        (root / ALLOWED).write_text("".join(f"{number} {path}\n" for path, number in now.items()))
    else:
        excess = {path: number for path, number in now.items() if number > before.get(path, 0)}
        for path, number in excess.items():
            print(f"{path}: {number} banned words, {before.get(path, 0)} allowed. See CONTRIBUTING.md, Code style.")
        if excess:
            print("If a file only moved: python -m tests.banned_words --update")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT, *sys.argv[1:]))
