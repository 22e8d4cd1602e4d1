"""Starting child processes that never outlive us, and the child's side of that promise."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "HOME", "TZ")


@dataclass(frozen=True, kw_only=True)
class Child:
    """A running child and the stream socket that it got; when our end closes, the child ends."""

    process: subprocess.Popen[bytes]
    sock: socket.socket

    def kill(self) -> int:
        """Ends the child at once, also a stopped one. Returns its exit code (negative: the signal)."""
        self.sock.close()
        self.process.kill()
        return self.process.wait()


class Starter:
    """Starts children from one thread that lives until `close`.

    On Linux a child asks to be killed when its parent dies, and "parent" there means the *thread* that started it:
    children started from a request's thread would die with that thread.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lehr-starter")

    def start(self, module: str, arguments: Sequence[str], *, environment: dict[str, str] | None = None) -> Child:
        """Runs `python -m module --fd N --parent PID arguments…`; raises RuntimeError after `close`."""
        return self._thread.submit(start_child, module, arguments, environment=environment).result()

    def close(self) -> None:
        """Ends the thread, and with it every child still running (on Linux)."""
        self._thread.shutdown(wait=False)


def bare_environment(**more: str) -> dict[str, str]:
    """What a process that touches untrusted bytes may know of our environment: paths and language, no secret."""
    return {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | more


def die_with_parent(parent: int) -> None:
    """In the child: end when the parent does (at once, if it has by now), gain no privileges.

    Ctrl-C and SIGTERM often go to a whole group of processes: the parent alone decides what they mean for its children.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


def start_child(module: str, arguments: Sequence[str], *, environment: dict[str, str] | None = None) -> Child:
    """Runs `python -m module --fd N --parent PID arguments…`; the child dies with the calling *thread* (`Starter`)."""
    ours, theirs = socket.socketpair()
    with theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        # -P: a file in the working folder must not stand in for a module of the standard library
        command = [sys.executable, "-P", "-m", module, "--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
        process = subprocess.Popen(  # noqa: S603
            [*command, *arguments], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
        )
    return Child(process=process, sock=ours)
