"""CPU time and state of a process, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

# Fields of /proc/PID/stat (proc(5)) after the command name: state, utime, stime.
_STATE, _USER, _SYSTEM = 0, 11, 12


def usage(pid: int, default: float = 0.0) -> tuple[float, str]:
    """Return the CPU seconds of a process and the letter of its state.

    Args:
        pid: process ID.
        default: the seconds to return if there is no such process; its state is then empty.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return default, ""
    ticks = int(fields[_USER]) + int(fields[_SYSTEM])
    return ticks / os.sysconf("SC_CLK_TCK"), fields[_STATE]
