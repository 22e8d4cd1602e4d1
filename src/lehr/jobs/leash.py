"""Runs a command that dies with the process that started it, at a lower priority. Standard library only.

Started as a script of its own (`python leash.py PARENT NICENESS COMMAND…`) and then replaced by the command: so the
kernel's promise is in place before the command's first line, and nothing runs between fork and exec in a process that
has threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends (Linux); ends it now if the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def step_back(niceness: int) -> None:
    """Lowers the priority of this process, and of its session where that is its own.

    Linux shares the processors out among sessions first ("autogroup"): priorities count within one alone.
    """
    priority = os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:  # not there, or rationed
            group.write(str(priority))


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    step_back(int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  no shell is wanted
