"""How much an app keeps: as the files on the disk say, told without asking them again."""

from __future__ import annotations

import os
import time

from lehr.protocol import resources_pb2 as r
from lehr.services.housekeeping import Housekeeping
from lehr.services.ingest import KIND
from lehr.services.inputs import Inputs, Upload
from lehr.services.storage import Storage
from lehr.store import blob_sizes, inputs
from lehr.store.inputs import NewInput


def uploaded(shop, blobs, ref, *pictures: bytes) -> None:
    orders = [r.Input(id=f"i{number}", data=r.Data(image=r.Image(base64=data))) for number, data in enumerate(pictures)]
    Inputs(db=shop.db, blobs=blobs, queue=shop.queue).post(ref, "ana", Upload(inputs=orders))
    shop.ingest.run(shop.queue.claim("worker", kinds=[KIND]))


def test_media_are_counted_as_they_come_in_and_told_when_another_app_has_them_too(
    bare_shop, blobs, other_ref, picture, monkeypatch
):
    db, ref = bare_shop.db, bare_shop.ref
    small, large = picture(seed=1), picture(900, 700, seed=2)
    uploaded(bare_shop, blobs, ref, small, large, small)
    uploaded(bare_shop, blobs, other_ref, small)
    with db.read() as tx:
        assert blob_sizes.unmeasured(tx, limit=10) == []  # nobody need look at the disk
    monkeypatch.setattr(blobs, "size", None)
    stored = Storage(db=db, blobs=blobs).of(ref)
    [thumbnail] = [sha for sha in blobs.list() if blobs.read(sha) not in (small, large)]
    assert stored.media == stored.total == len(small) + len(large) + len(blobs.read(thumbnail))
    assert (stored.num_blobs, stored.shared, stored.is_complete) == (3, len(small), True)


def test_what_came_another_way_is_measured_when_it_is_asked_for_and_forgotten_when_it_goes(db, blobs, queue, ref):
    sha = blobs.put(b"some bytes")
    gone = f"{7:064x}"
    with db.write() as tx:
        for name, named in (("a", sha), ("b", sha), ("c", gone)):
            inputs.insert(tx, ref, [NewInput(message=r.Input(id=name), content_sha=named)])
    storage = Storage(db=db, blobs=blobs)
    stored = storage.of(ref)
    assert (stored.media, stored.num_blobs, stored.is_complete) == (10, 2, False)  # one that is named is not there
    with db.write() as tx:
        inputs.delete(tx, ref, ["a", "b", "c"])
    os.utime(blobs.local_path(sha), (time.time() - 86_400,) * 2)
    assert Housekeeping(db=db, blobs=blobs, queue=queue).once() == (1, 0)
    assert Storage(db=db, blobs=blobs).of(ref).total == 0
    with db.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM blob_sizes").scalar() == 0


def test_housekeeping_measures_everything(db, blobs, queue, ref):
    with db.write() as tx:
        news = [NewInput(message=r.Input(id=f"i{n}"), content_sha=blobs.put(b"x" * n)) for n in range(1, 9)]
        inputs.insert(tx, ref, news)
    Housekeeping(db=db, blobs=blobs, queue=queue).once()
    with db.read() as tx:
        assert blob_sizes.unmeasured(tx, limit=1) == []
        assert blob_sizes.sum_of(tx, ref, "media") == (36, 8, 0)
