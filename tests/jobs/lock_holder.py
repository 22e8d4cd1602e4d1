"""Another process that keeps SQLite's write lock: `lock_holder.py FILE SECONDS`. Prints a line once it has it."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing

if __name__ == "__main__":
    with closing(sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
        connection.execute("ROLLBACK")
