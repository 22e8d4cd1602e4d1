"""The worker's half, with real decoder processes and a real web server beside it."""

import http.server
import io
import struct
import threading
import time
import zlib
from types import SimpleNamespace

import pytest
from PIL import Image as Pictures

from lehr.errors import Cancelled, LeaseLost, NotFound
from lehr.jobs.queue import State
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.services import ingest as ingests
from lehr.services.add_jobs import AddJobs
from lehr.services.datasets import Datasets
from lehr.services.ingest import KIND, Ingest
from lehr.services.inputs import Inputs, Upload
from lehr.services.media import HostedMedia, shown
from lehr.services.paging import Paging
from lehr.serving.decoders import DecoderPool
from lehr.serving.fetch import Fetcher
from lehr.store import inputs as input_rows
from lehr.store.items import Source, count

Input, Data, Concept, Image = resources_pb2.Input, resources_pb2.Data, resources_pb2.Concept, resources_pb2.Image
ANA = "ana"


@pytest.fixture(scope="module")
def decoders():
    with DecoderPool(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def site():
    """A web server on this machine; `files` maps paths to bytes."""

    files: dict[str, bytes] = {}

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.files = files
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def inputs(db, blobs, queue) -> Inputs:
    return Inputs(db=db, blobs=blobs, queue=queue)


@pytest.fixture
def ingest(db, blobs, queue, decoders) -> Ingest:
    return Ingest(db=db, blobs=blobs, queue=queue, decoders=decoders, fetcher=Fetcher(allow=("127.0.0.0/8",)))


def order(data=b"", *, url="", input_id="", **more):
    return Input(id=input_id, data=Data(image=Image(base64=data, url=url), **more))


def processed(inputs, ingest, ref, *orders):
    """Posts, runs the job as a worker would, and reads everything back."""
    done = inputs.post(ref, ANA, Upload(inputs=orders, add_job_id="job"))
    job = ingest.queue.claim("worker", kinds=[KIND])
    ingest.run(job)
    with ingest.db.write() as tx:
        ingest.queue.finish(tx, job)
    return [inputs.get(ref, each.id) for each in done.inputs]


@pytest.mark.parametrize("more", [3, 10**9], ids=["until no more come", "or for long enough"])
def test_a_part_of_a_large_upload_waits_while_more_comes_in(inputs, ingest, ref, monkeypatch, more):
    """Another input comes whenever the job sleeps, `more` times."""
    came = []

    def sleep(_: float) -> None:
        assert {inputs.get(ref, each).status.code for each in "ab"} == {status_code_pb2.INPUT_DOWNLOAD_PENDING}
        if len(came) < more:
            came.extend(inputs.post(ref, ANA, Upload(inputs=[order(dot())])).inputs)

    monkeypatch.setattr(ingests, "MANY", 2)
    monkeypatch.setattr(ingests, "GIVE_WAY_SECONDS", 600.0 if more == 3 else 0.3)
    monkeypatch.setattr(ingests, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    done = processed(inputs, ingest, ref, order(dot(), input_id="a"), order(dot(), input_id="b"))
    assert {each.status.code for each in done} == {status_code_pb2.INPUT_DOWNLOAD_SUCCESS}
    assert len(came) == 3 if more == 3 else len(came) > 0


def dot() -> bytes:
    """One pixel."""
    file = io.BytesIO()
    Pictures.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG whose header promises side x side pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_a_picture_is_described_and_can_be_shown_in_two_sizes(inputs, ingest, ref, other_ref, picture):
    data = picture(1600, 400, kind="JPEG")
    [done] = processed(inputs, ingest, ref, order(data, concepts=[Concept(id="rose", value=1)]))
    assert done.status.code == status_code_pb2.INPUT_DOWNLOAD_SUCCESS
    info = done.data.image.image_info
    assert (info.width, info.height, info.format) == (1600, 400, "JPEG")
    assert info.color_mode
    answer = shown(done, ref, "http://here")
    assert list(answer.data.image.hosted.sizes) == ["orig", "small"]
    sha = answer.data.image.hosted.suffix.rpartition("/")[2]
    hosted = HostedMedia(db=ingest.db)
    assert ingest.blobs.read(hosted.find(ref, sha, "orig").sha) == data
    small = Pictures.open(io.BytesIO(ingest.blobs.read(hosted.find(ref, sha, "small").sha)))
    assert max(small.size) == 512
    for app, size in ((other_ref, "orig"), (ref, "huge")):
        with pytest.raises(NotFound):
            hosted.find(app, sha, size)
    with ingest.db.read() as tx:
        assert count(tx, Source(app=ref)) == 1


def test_a_small_picture_is_its_own_thumbnail(inputs, ingest, blobs, db, ref, picture):
    [done] = processed(inputs, ingest, ref, order(picture(8, 8)))
    assert list(done.data.image.hosted.sizes) == ["orig", "small"]
    assert len(list(blobs.list())) == 1
    assert HostedMedia(db=db).find(ref, done.data.image.hosted.suffix, "small").content_type == "image/png"


def test_what_is_no_picture_gets_a_sentence_and_the_right_code_and_the_rest_is_done(inputs, ingest, ref, picture):
    good = picture(300, 200, kind="JPEG")
    orders = [order(good), order(good[: len(good) // 2]), order(b"just some text, named cat.png"), order(bomb(30_000))]
    fine, truncated, text, huge = processed(inputs, ingest, ref, *orders)
    assert fine.status.code == 30000
    assert (truncated.status.code, text.status.code, huge.status.code) == (30101, 30101, 30105)
    assert "30000" in huge.status.details.replace(",", "").replace("_", "").replace(" ", "")
    assert all(len(each.status.details) > 20 for each in (truncated, text, huge))
    counts = inputs.count(ref)
    assert (counts.processed, counts.errors) == (1, 3)


def test_a_url_is_downloaded_only_where_that_is_allowed(inputs, ingest, blobs, site, ref, picture):
    site.files["/cat.png"] = data = picture()
    site.files["/page.html"] = b"<html>not found</html>"
    orders = [
        order(url=f"{site.url}/{name}", input_id=f"i{n}") for n, name in enumerate(("cat.png", "none", "page.html"))
    ]
    cat, none, page = processed(inputs, ingest, ref, *orders)
    assert [each.status.code for each in (cat, none, page)] == [30000, 30002, 30101]
    assert cat.data.image.url == f"{site.url}/cat.png"
    assert blobs.read(cat.data.image.hosted.suffix) == data
    assert "404" in none.status.details

    guarded = Ingest(db=ingest.db, blobs=blobs, queue=ingest.queue, decoders=ingest.decoders, fetcher=Fetcher())
    [refused] = processed(inputs, guarded, ref, order(url=f"{site.url}/cat.png?again"))
    assert refused.status.code == 30002
    assert "127.0.0.1" in refused.status.details


def test_text_is_fetched_too_and_must_be_text(inputs, ingest, site, ref):
    site.files["/a.txt"], site.files["/b.txt"] = "grüß".encode(), b"\xff\xfe\x00"
    orders = [Input(data=Data(text=resources_pb2.Text(url=f"{site.url}/{name}.txt"))) for name in "ab"]
    good, bad = processed(inputs, ingest, ref, *orders)
    assert (good.status.code, bad.status.code) == (30000, 30101)
    assert good.data.text.hosted.suffix
    assert "UTF-8" in bad.status.details


def test_a_run_that_is_repeated_changes_nothing(inputs, ingest, queue, db, ref, picture):
    inputs.post(ref, ANA, Upload(inputs=[order(picture(), input_id="a"), order(b"no", input_id="b")]))
    job = queue.claim("worker", kinds=[KIND])
    ingest.run(job)
    before = [inputs.get(ref, each) for each in "ab"]
    ingest.run(job)
    assert [inputs.get(ref, each) for each in "ab"] == before


def test_a_worker_that_died_is_followed_by_another_and_cannot_write_any_more(inputs, ingest, queue, ref, picture):
    inputs.post(ref, ANA, Upload(inputs=[order(picture(), input_id="a")]))
    first = queue.claim("first", kinds=[KIND], lease_seconds=0)
    while (second := queue.claim("second", kinds=[KIND])) is None:
        pass  # until the lease has run out
    with pytest.raises(LeaseLost):
        ingest.run(first)
    assert inputs.get(ref, "a").status.code == 30001
    ingest.run(second)
    assert inputs.get(ref, "a").status.code == 30000


def test_what_changed_or_went_while_it_was_processed_is_respected(inputs, ingest, ref, picture, monkeypatch):
    inputs.post(ref, ANA, Upload(inputs=[order(picture(seed=n), input_id=f"i{n}") for n in range(3)]))
    settle = Ingest._settle

    def meddled(self, job, app, outcomes):
        inputs.delete(ref, ["i0"])
        inputs.patch(ref, ANA, [Input(id="i1", data=Data(concepts=[Concept(id="rose", value=1)]))], "merge")
        settle(self, job, app, outcomes)

    monkeypatch.setattr(Ingest, "_settle", meddled)
    ingest.run(ingest.queue.claim("worker", kinds=[KIND]))
    with ingest.db.read() as tx:
        left = input_rows.get_many(tx, ref, ["i0", "i1", "i2"])
    assert {id_: each.status.code for id_, each in left.items()} == {"i1": 30000, "i2": 30000}
    assert [each.id for each in left["i1"].data.concepts] == ["rose"]


def test_an_upload_that_is_cancelled_while_it_is_processed_stops(inputs, ingest, ref, picture, monkeypatch):
    inputs.post(ref, ANA, Upload(inputs=[order(picture(), input_id="a")], add_job_id="job"))
    job = ingest.queue.claim("worker", kinds=[KIND])
    inspect = ingest.decoders.inspect

    def late(data, side):
        AddJobs(db=ingest.db, queue=ingest.queue).cancel(ref, "job")
        return inspect(data, side)

    monkeypatch.setattr(ingest.decoders, "inspect", late)
    with pytest.raises(Cancelled):
        ingest.run(job)
    assert "cancelled" in inputs.get(ref, "a").status.details


def test_trouble_of_our_own_is_raised_after_the_others_are_done_and_told_when_we_give_up(
    inputs, ingest, ref, picture, monkeypatch
):
    inputs.post(ref, ANA, Upload(inputs=[order(picture(seed=n), input_id=f"i{n}") for n in range(3)]))
    inspect = ingest.decoders.inspect
    bad = picture(seed=1)

    def moody(data, side):
        if data == bad:
            raise OSError("no more file handles")
        return inspect(data, side)

    monkeypatch.setattr(ingest.decoders, "inspect", moody)
    job = ingest.queue.claim("worker", kinds=[KIND])
    with pytest.raises(OSError, match="handles") as caught:
        ingest.run(job)
    assert [inputs.get(ref, f"i{n}").status.code for n in range(3)] == [30000, 30001, 30000]
    with ingest.db.write() as tx:
        ingest.failed(tx, job, caught.value)
        ingest.queue.fail(tx, job, str(caught.value))
    told = inputs.get(ref, "i1").status
    assert told.code == 30002
    assert "handles" not in told.details
    with ingest.db.read() as tx:
        assert ingest.queue.view(tx, job.id).state is State.FAILED


def test_a_poll_returns_as_soon_as_everything_is_done(inputs, ingest, queue, db, ref, picture):
    jobs = AddJobs(db=db, queue=queue, wait_seconds=60)
    inputs.post(ref, ANA, Upload(inputs=[order(picture(seed=n)) for n in range(5)], add_job_id="job"))
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(jobs.get(ref, "job")))
    waiting.start()
    ingest.run(queue.claim("worker", kinds=[KIND]))
    waiting.join()
    assert (answers[0].progress.success_count, answers[0].progress.pending_count) == (5, 0)
    assert answers[0].status.code == status_code_pb2.JOB_COMPLETED


def test_a_data_set_lists_processed_inputs_as_an_app_does(inputs, ingest, db, ref, picture):
    datasets = Datasets(db=db)
    datasets.create(ref, [resources_pb2.Dataset(id="d")])
    one = order(picture(), input_id="a")
    one.dataset_ids.append("d")
    [done] = processed(inputs, ingest, ref, one)
    [item] = datasets.list_inputs(ref, "d", Paging(1, 10))
    assert item.input == done
    assert item == datasets.get_input(ref, "d", "a")
