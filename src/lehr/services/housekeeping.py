"""What nobody asks for and somebody must do: unnamed blobs, unmeasured blobs, jobs long ended."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from lehr.errors import LehrError
from lehr.jobs.queue import Queue
from lehr.services import uploads
from lehr.services.storage import measure
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.sweep import sweep

log = logging.getLogger(__name__)

PERIOD_SECONDS = 3600.0
KEEP_JOBS_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Housekeeping:
    """Needs the store. Safe to run in any number of workers at once."""

    db: Database
    blobs: Blobs
    queue: Queue

    def start(self) -> None:
        """Once an hour, in a thread that ends with the process."""
        threading.Thread(target=self._go_on, name="housekeeping", daemon=True).start()

    def once(self) -> tuple[int, int]:
        """Clears up now; answers how many blobs and how many jobs went."""
        uploads.expire(self.db, self.queue)
        num_blobs = sweep(self.db, self.blobs)
        measure(self.db, self.blobs)
        with self.db.write() as tx:
            num_jobs = self.queue.prune(tx, KEEP_JOBS_SECONDS)
        return num_blobs, num_jobs

    def _go_on(self) -> None:
        pause = threading.Event()
        while not pause.wait(PERIOD_SECONDS):
            try:
                num_blobs, num_jobs = self.once()
                log.info("cleared %d blobs and %d jobs", num_blobs, num_jobs)
            except (LehrError, SQLAlchemyError, OSError):
                log.exception("clearing up failed; it is tried again in an hour")
