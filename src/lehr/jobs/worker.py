"""The worker: claims what is ready, runs small jobs in its threads and large ones in processes of their own.

Holds no truth: it may be killed at any moment, and whoever comes next goes on from the queue.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from lehr.errors import WorkerDied
from lehr.jobs.launcher import Launched, Launcher, is_dead, stop_all, worker_name
from lehr.jobs.queue import Job, JobView, Queue, State
from lehr.jobs.runs import Kinds, perform, run_job, settle_failure

__all__ = ["Kinds", "Worker", "run_job"]

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
CANCEL_CHECK_SECONDS = 0.5
CANCEL_GRACE_SECONDS = 1.0
STOP_GRACE_SECONDS = 10.0


@dataclass
class _Child:
    """A launched job: cancelled ones are asked, then made, to stop."""

    job_id: str
    lane: int
    token_before: int
    process: Launched
    checked_at: float
    asked_at: float | None = None


class Worker:
    """Runs jobs of the given kinds until told to stop.

    At a time: `threads` small ones, `launched_at_once` large ones, and as many of those launched beside them.
    """

    def __init__(
        self,
        queue: Queue,
        kinds: Kinds,
        launcher: Launcher | None = None,
        *,
        threads: int = 2,
        launched_at_once: int = 1,
    ) -> None:
        self._lanes = (kinds.launched, kinds.beside)
        assert launcher is not None or not any(self._lanes), "launched kinds need a launcher"
        self._every_kind = [*kinds.in_process, *kinds.launched, *kinds.beside]
        self._queue = queue
        self._kinds = kinds
        self._launcher = launcher
        self._num_threads = threads
        self._num_launched = launched_at_once
        self._name = worker_name(os.getpid())
        self._threads: dict[threading.Thread, Job] = {}
        self._children: list[_Child] = []
        self._stopping = threading.Event()
        self._awake = threading.Event()

    def run(self) -> None:
        """Works until `stop`. In the main thread, SIGTERM and SIGINT stop it too."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        try:
            self._take_over()
            while not self._stopping.is_set():
                self._awake.clear()
                if not self._turn():
                    self._awake.wait(POLL_SECONDS)
        finally:
            self._wind_up()

    def stop(self) -> None:
        """Ends `run` soon: what runs is interrupted and goes back to the queue."""
        self._stopping.set()
        self._awake.set()

    def wake(self) -> None:
        """Makes the worker look at the queue now."""
        self._awake.set()

    def _take_over(self) -> None:
        """Settles at once, without waiting for their leases, the jobs of workers that died on this machine."""
        for view in self._queue.running():
            if is_dead(view.worker):
                error = WorkerDied("the process that ran this job ended without finishing it")
                settle_failure(self._queue, view.job, error, self._kinds.failed)

    def _turn(self) -> bool:
        """Looks once at everything; True if something was started, so that more may be waiting."""
        try:
            self._watch_children()
            if self._queue.ready(kinds=self._every_kind) is None:  # as nearly always: one look instead of three
                return False
            return self._start_small() | any([self._start_launched(lane) for lane in range(len(self._lanes))])
        except OperationalError as error:
            log.warning("the database is out of reach; trying again: %s", error)
            self._stopping.wait(1.0)
            return False

    def _start_small(self) -> bool:
        self._threads = {thread: job for thread, job in self._threads.items() if thread.is_alive()}
        kinds = self._kinds.in_process
        if len(self._threads) >= self._num_threads or not kinds or self._queue.ready(kinds=list(kinds)) is None:
            return False
        job = self._queue.claim(self._name, kinds=list(kinds))
        if job is None:
            return False
        thread = threading.Thread(target=self._perform, args=(job,), name=f"{job.kind} {job.id}", daemon=True)
        self._threads[thread] = job
        thread.start()
        return True

    def _perform(self, job: Job) -> None:
        try:
            perform(self._queue, job, self._kinds.in_process[job.kind], self._kinds.failed)
        except Exception:  # settling failed too: the lease runs out and the job is tried again
            log.exception("job %s could not be settled", job.id)
        finally:
            self.wake()

    def _start_launched(self, lane: int) -> bool:
        running = [child.job_id for child in self._children if child.lane == lane]
        if self._launcher is None or len(running) >= self._num_launched or not self._lanes[lane]:
            return False
        job_id = self._queue.ready(kinds=list(self._lanes[lane]), but=running)
        view = self._view(job_id) if job_id else None
        if view is None:
            return False
        process = self._launcher.start(view.job.id)
        self._children.append(_Child(view.job.id, lane, view.job.token, process, checked_at=time.monotonic()))
        return True

    def _watch_children(self) -> None:
        for child in list(self._children):
            ending = child.process.poll()
            if ending is not None:
                child.process.kill()  # what it left behind in its group
                self._settle(child, ending)
                self._children.remove(child)
            else:
                self._check_cancelled(child)

    def _check_cancelled(self, child: _Child) -> None:
        moment = time.monotonic()
        if child.asked_at is not None:
            if moment - child.asked_at > CANCEL_GRACE_SECONDS:
                child.process.kill()
        elif moment - child.checked_at > CANCEL_CHECK_SECONDS:
            child.checked_at = moment
            view = self._view(child.job_id)
            if view is None or view.state is State.CANCELLED:
                child.asked_at = moment
                child.process.ask_to_stop()

    def _view(self, job_id: str) -> JobView | None:
        with self._queue.db.read() as tx:
            return self._queue.view(tx, job_id)

    def _settle(self, child: _Child, ending: str) -> None:
        """If the process left its job unfinished, or never even claimed it, that was an attempt that failed."""
        job = self._queue.held_by(child.process.worker, child.job_id)
        view = self._view(child.job_id)
        if job is None and view is not None and view.job.token == child.token_before:
            job = self._queue.claim(self._name, job_id=child.job_id)
        if job is not None:
            error = WorkerDied(f"the process that ran this job ended without finishing it: {ending}")
            settle_failure(self._queue, job, error, self._kinds.failed)
            self._queue.forget(job)

    def _wind_up(self) -> None:
        """Interrupts what runs, waits a little, kills the rest, and gives back every lease."""
        for job in self._threads.values():
            self._queue.interrupt(job)
        stop_all([child.process for child in self._children], STOP_GRACE_SECONDS)
        deadline = time.monotonic() + STOP_GRACE_SECONDS / 2
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        held = {job.id: self._name for thread, job in self._threads.items() if thread.is_alive()}
        held.update({child.job_id: child.process.worker for child in self._children})
        self._give_back(held)

    def _give_back(self, held: Mapping[str, str]) -> None:
        for job_id, worker in held.items():
            job = self._queue.held_by(worker, job_id)
            if job is not None:
                with self._queue.db.write() as tx:
                    self._queue.release(tx, job)
