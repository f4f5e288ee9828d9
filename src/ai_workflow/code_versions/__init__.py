"""Code as part of a cache key: digests of a module and its imports, independent of file names.

A module that cannot change a result, such as one that writes logs, declares `IN_CACHE_KEY = False` at its top level; in
the `__init__` of a package the line applies to all its modules.
"""

from __future__ import annotations

IN_CACHE_KEY = False
