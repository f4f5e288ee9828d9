"""Words that docs, code and comments must not use; `python -m tests.banned_words` fails and prints each of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCOPE = (
    "src", "flows", "blocks", "deploy", "monitoring", "benchmarks", "config", "docs", ".github", ".ci", ".devcontainer",
    ":(glob)*.md", "Makefile", "pyproject.toml", "prefect.yaml", ".env.example", ".pre-commit-config.yaml",
)  # fmt: skip
BINARY = {".png", ".svg", ".ico", ".pdf", ".gz", ".parquet"}
WORDS = (
    "whoever", "nobody", "somebody", "ours", "theirs", "anew", "so many", "told", "tells?", "telling", "asks?", "asked",
    "asking", "hears?", "heard", "mend(?:s|ed|ing)?", "kn[eo]wn? of", "knows of", "hand(?:s|ed|ing)? on",
    "let(?:s|ting)? go", "c[oa]mes? to be", "sees? to", "look(?:s|ed|ing)? after",
)  # fmt: skip
# A break between two words may be a line break inside a comment.
_WORD = re.compile(rf"(?<![a-z0-9])(?:{'|'.join(WORDS)})(?![a-z0-9])".replace(" ", r"\s+(?:#\s*)?"), re.IGNORECASE)
# URLs, the method `tell` of files, a key of stored records, and the Unix account.
_EXEMPT = re.compile(r"https?://\S+|\.tell\(|\bdef tell\(|\"anew\"|\banew: NotRequired|\"nobody\"")


def find(text: str) -> list[str]:
    """Return the banned words of a text."""
    return _WORD.findall(_EXEMPT.sub(" ", text))


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of each file in scope; git decides which files belong to the project."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", *SCOPE]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in sorted(filter(None, names)):
        if Path(name).suffix not in BINARY and (root / name).is_file():
            yield name, (root / name).read_text(errors="ignore")


def main(root: Path = ROOT) -> int:
    """Print the banned words of each file; return 1 if there are any."""
    found = {name: words for name, text in texts(root) if (words := find(text))}
    for name, words in found.items():
        print(f"{name}: {', '.join(sorted(set(words)))}")
    if found:
        print("Banned words. See CONTRIBUTING.md, Code style.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
