"""References to files of a store, with the checksum that their content must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

IN_CACHE_KEY = False


class FileChecksum(TypedDict):
    """A path below the root of the store and the checksum of the file."""

    path: str
    sha256: str


class FileRecord(FileChecksum):
    """A `FileRef` as JSON."""

    bytes: int


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of the store: path below the root, expected checksum and size."""

    path: str
    sha256: str
    bytes: int

    def to_json(self) -> FileRecord:
        """Return the reference as JSON types."""
        return {"path": self.path, "sha256": self.sha256, "bytes": self.bytes}
