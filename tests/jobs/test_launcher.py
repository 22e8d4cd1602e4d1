"""The launcher and its leash."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from lehr.jobs.launcher import LEASH, LocalLauncher, stop_all

SLEEP = "import sys, time; time.sleep(600)"


def test_a_launched_process_has_a_lower_priority_and_a_group_of_its_own(tmp_path: Path) -> None:
    code = (
        "import os, sys; group = open('/proc/self/autogroup').read() if os.path.exists('/proc/self/autogroup') else '';"
        "open(sys.argv[1], 'w').write(f'{os.nice(0)} {os.getpgid(0) == os.getpid()} {group}')"
    )
    started = LocalLauncher([sys.executable, "-c", code], niceness=7).start(str(tmp_path / "said"))
    started.process.wait(60)
    assert started.poll() == "exit code 0"
    priority, leads, *group = (tmp_path / "said").read_text().split()
    assert (int(priority), leads) == (os.nice(0) + 7, "True")
    assert not group or group[-1] == priority, "sessions share the processors out among themselves first"
    assert started.worker.endswith(f":{started.process.pid}")


def test_a_deaf_process_and_its_children_are_killed_when_the_grace_is_over() -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
    )
    read, write = os.pipe()
    started = LocalLauncher([sys.executable, "-c", code]).start(f"/proc/{os.getpid()}/fd/{write}")
    os.set_blocking(read, True)
    grandchild = int(os.read(read, 100))
    stop_all([started], grace_seconds=0.1)
    assert started.poll() == "killed by SIGKILL, perhaps because memory ran out"
    while Path(f"/proc/{grandchild}").exists() and " Z " not in Path(f"/proc/{grandchild}/stat").read_text():
        threading.Event().wait(0.02)


def test_an_orphan_does_not_even_start() -> None:
    stranger = 1
    command = [sys.executable, "-I", "-S", str(LEASH), str(stranger), "0", sys.executable, "-c", SLEEP]
    assert subprocess.run(command, timeout=60, check=False).returncode == 1
