"""What clearing up takes, and what it leaves."""

import os
import time

from lehr.protocol import resources_pb2 as r
from lehr.services.housekeeping import Housekeeping
from lehr.store import inputs
from lehr.store.inputs import NewInput


def test_only_old_blobs_that_nothing_names_go(db, blobs, queue, ref):
    named, fresh, forgotten = (blobs.put(data) for data in (b"named", b"fresh", b"forgotten"))
    with db.write() as tx:
        inputs.insert(tx, ref, [NewInput(message=r.Input(id="i"), content_sha=named)])
    for sha in (named, forgotten):
        yesterday = time.time() - 86_400
        os.utime(blobs.local_path(sha), (yesterday, yesterday))
    assert Housekeeping(db=db, blobs=blobs, queue=queue).once() == (1, 0)
    assert [blobs.exists(sha) for sha in (named, fresh, forgotten)] == [True, True, False]
