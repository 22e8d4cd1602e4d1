"""Runs a command that dies with the process that started it, at a lower priority. Standard library only.

Started as a script of its own (`python leash.py PARENT NICENESS COMMAND…`) and then replaced by the command: so the
kernel's promise is in place before the command's first line, and nothing runs between fork and exec in a process that
has threads.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.nice(int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  no shell is wanted
