"""Code as part of a cache key: what a module and all that it imports compute, whatever the names of their files.

A module that cannot change a result, such as one that writes logs, says so by `IN_CACHE_KEY = False` at its top level;
in the `__init__` of a package that holds for all modules of the package. The line moves with the module.
"""

from __future__ import annotations

IN_CACHE_KEY = False
