# ruff: noqa: PLR0917
"""Files sent in parts, and archives among them that become inputs: the whole way, and every way it is cut short."""

import io
import tarfile
import threading
import zipfile

import pytest

from lehr.errors import Cancelled, Duplicate, InvalidInput, InvalidRequest, LeaseLost, NotFound
from lehr.jobs.queue import State
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import to_struct
from lehr.services import uploads as uploads_service
from lehr.services.add_jobs import AddJobs
from lehr.services.annotations import Annotations, Wanted
from lehr.services.archive_inputs import id_from, is_litter
from lehr.services.archives import Bounds
from lehr.services.datasets import Datasets
from lehr.services.extracting import Extracting
from lehr.services.extraction_states import KIND
from lehr.services.extractions import Extractions, Order, sourced, uploaded
from lehr.services.inputs import Inputs
from lehr.services.paging import Paging
from lehr.services.upload_contents import PartsFile
from lehr.services.uploads import Uploads
from lehr.serving.fetch import Fetcher
from lehr.store import uploads as upload_rows

Upload, Part, Input, Data = (
    resources_pb2.Upload,
    resources_pb2.UploadContentPart,
    resources_pb2.Input,
    resources_pb2.Data,
)
ANA = "ana"
FIRST = Paging(1, 1000)


@pytest.fixture
def uploads(db, blobs, queue) -> Uploads:
    return Uploads(db=db, blobs=blobs, queue=queue)


@pytest.fixture
def extractions(db, queue) -> Extractions:
    return Extractions(db=db, queue=queue)


@pytest.fixture
def extracting(db, blobs, queue) -> Extracting:
    return Extracting(db=db, blobs=blobs, queue=queue, fetcher=Fetcher(allow=("127.0.0.0/8",)))


@pytest.fixture
def inputs(db, blobs, queue) -> Inputs:
    return Inputs(db=db, blobs=blobs, queue=queue)


def zipped(files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def in_parts(data, size):
    return [Part(range_start=start, data=data[start : start + size]) for start in range(0, len(data), size)]


def sent(uploads, ref, data, name="pictures.zip", size=1000):
    [upload] = uploads.post(ref, [Upload(content_length=len(data), content_name=name)])
    return uploads.put_parts(ref, upload.id, in_parts(data, size))


def order(upload_id="", **more):
    filled = {"add_job_id": "job", "template": Input(), "conflicts": 0} | more
    return Order(upload=Upload(id=upload_id) if upload_id else None, **filled)


def worked(extracting, queue):
    """Runs what waits as a worker would; answers how many runs it took."""
    number = 0
    while (job := queue.claim("worker", kinds=[KIND])) is not None:
        number += 1
        try:
            extracting.run(job)
        except Exception as error:
            with queue.db.write() as tx:
                queue.fail(tx, job, str(error))
                extracting.failed(tx, job, error)
            continue
        with queue.db.write() as tx:
            view = queue.view(tx, job.id)
            if view.state is State.RUNNING:
                queue.finish(tx, job)
    return number


# -- parts -------------------------------------------------------------------------------------------------------------


def test_parts_come_in_any_order_and_again_and_what_is_missing_is_told(uploads, blobs, db, ref):
    data = bytes(range(256)) * 40
    [upload] = uploads.post(ref, [Upload(id="u", content_length=len(data), content_name="a.bin")])
    assert upload.status.code == status_code_pb2.UPLOAD_IN_PROGRESS
    parts = in_parts(data, 1000)
    assert uploads.get(ref, "u").status.details.endswith("The first byte that is missing is 0.")
    uploads.put_parts(ref, "u", [parts[3], parts[0]])
    uploads.put_parts(ref, "u", parts[:2])
    told = uploads.get(ref, "u").status
    assert (told.percent_completed, told.details) == (
        29,
        "3,000 of 10,240 bytes are here. The first byte that is missing is 2000.",
    )
    done = uploads.put_parts(ref, "u", parts)
    assert done.status.code == status_code_pb2.UPLOAD_DONE
    assert uploads.put_parts(ref, "u", [parts[5]]).status.code == status_code_pb2.UPLOAD_DONE
    with db.read() as tx:
        file = PartsFile(blobs, upload_rows.parts(tx, upload_rows.get(tx, ref, "u").key))
    assert io.BufferedReader(file).read(4321) == data[:4321]
    file.seek(-100, io.SEEK_END)
    assert file.read(60) == data[-100:-40]
    with pytest.raises(OSError, match="Invalid"):
        file.seek(-20_000, io.SEEK_END)


def test_wrong_parts_are_refused_and_nothing_of_the_request_is_kept(uploads, ref, other_ref):
    uploads.post(ref, [Upload(id="u", content_length=100)])
    uploads.put_parts(ref, "u", [Part(range_start=10, data=b"a" * 20)])
    for wrong, words in (
        (Part(range_start=90, data=b"b" * 11), "would end at 101"),
        (Part(range_start=2**63, data=b"b"), "has 100 bytes"),
        (Part(range_start=0), "no data"),
        (Part(range_start=0, data=b"b" * 11), "crosses what is here"),
        (Part(range_start=10, data=b"b" * 20), "10 to 29"),
        (Part(range_start=15, data=b"a" * 5), "Send it with the same borders"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            uploads.put_parts(ref, "u", [Part(range_start=50, data=b"c"), wrong])
    assert "20 of 100" in uploads.get(ref, "u").status.details
    for call in (
        lambda: uploads.put_parts(other_ref, "u", [Part(range_start=0, data=b"b")]),
        lambda: uploads.get(other_ref, "u"),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(InvalidRequest, match="1 to 1000 parts"):
        uploads.put_parts(ref, "u", [])


def test_uploads_are_opened_once_listed_and_deleted(uploads, ref, other_ref):
    for wrong in (Upload(), Upload(content_length=2**40), Upload(content_length=5, id="a/b")):
        with pytest.raises(InvalidRequest):
            uploads.post(ref, [wrong])
    uploads.post(ref, [Upload(id="a", content_length=5), Upload(id="b", content_length=6)])
    assert uploads.post(ref, [Upload(id="a", content_length=5)])[0].id == "a"
    with pytest.raises(Duplicate, match="5 bytes and not 7"):
        uploads.post(ref, [Upload(id="a", content_length=7)])
    assert [each.id for each in uploads.list_of(ref, FIRST)] == ["b", "a"]
    assert uploads.list_of(other_ref, FIRST) == []
    assert uploads.delete(ref, []) == 0
    assert uploads.delete(ref, ["a", "unknown"]) == 1
    assert [each.id for each in uploads.list_of(ref, FIRST)] == ["b"]


def test_parts_that_arrive_at_once_are_all_counted(uploads, ref):
    data = bytes(2000)
    uploads.post(ref, [Upload(id="u", content_length=len(data))])
    threads = [threading.Thread(target=uploads.put_parts, args=(ref, "u", [part])) for part in in_parts(data, 250) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert uploads.get(ref, "u").status.code == status_code_pb2.UPLOAD_DONE


def test_an_upload_that_nobody_goes_on_with_expires(uploads, extractions, db, queue, ref, monkeypatch):
    monkeypatch.setattr(uploads_service, "KEPT_SECONDS", -1)
    uploads.post(ref, [Upload(id="u", content_length=5)])
    extractions.post(ref, ANA, [order("u")])
    assert uploads.get(ref, "u").status.code == status_code_pb2.UPLOAD_EXPIRED
    with pytest.raises(InvalidRequest, match="expired"):
        uploads.put_parts(ref, "u", [Part(data=b"12345")])
    assert uploads_service.expire(db, queue) == 1
    assert uploads.list_of(ref, FIRST) == []
    [stopped] = extractions.list_of(ref, FIRST)
    assert (stopped.status.code, "expired" in stopped.status.details) == (status_code_pb2.JOB_CANCELLED, True)


# -- archives ----------------------------------------------------------------------------------------------------------


def test_an_archive_becomes_labelled_inputs_once_its_last_part_is_here(
    uploads, extractions, extracting, inputs, queue, db, ref, picture
):
    Datasets(db=db).create(ref, [resources_pb2.Dataset(id="d")])
    files = {f"set/{n}.png": picture(seed=n) for n in range(5)}
    files |= {"note.txt": "grüß".encode(), "set/._0.png": b"litter", "film.mp4": b"0000ftyp", "sound.mp3": b"ID3"}
    data = zipped(files)
    template = Input(dataset_ids=["d"], data=Data(concepts=[resources_pb2.Concept(id="rose", value=1)]))
    template.data.metadata.CopyFrom(to_struct({"source": "camera"}))
    [upload] = uploads.post(ref, [Upload(content_length=len(data), content_name="a.zip")])
    [job] = extractions.post(ref, ANA, [order(upload.id, template=template)])
    assert [each.status.code for each in job.extraction_jobs] == [status_code_pb2.JOB_QUEUED]
    assert "Waits for its upload" in job.extraction_jobs[0].status.details
    parts = in_parts(data, 5000)
    uploads.put_parts(ref, upload.id, parts[1:])
    assert worked(extracting, queue) == 0
    uploads.put_parts(ref, upload.id, parts[:1])
    assert worked(extracting, queue) == 1

    [done] = extractions.list_of(ref, FIRST)
    assert (done.status.code, done.status.percent_completed) == (status_code_pb2.JOB_COMPLETED, 100)
    counts = done.progress
    assert (counts.image_inputs_count, counts.text_inputs_count, counts.video_inputs_count) == (5, 1, 1)
    assert (counts.audio_inputs_count, counts.completed_archives_count, counts.pending_archives_count) == (1, 1, 0)
    found = {each.id: each for each in inputs.list_of(ref, FIRST)}
    assert set(found) == {"set-0", "set-1", "set-2", "set-3", "set-4", "note", "film", "sound"}
    metadata = found["set-3"].data.metadata.fields
    assert (metadata["source"].string_value, metadata["filename"].string_value) == ("camera", "set/3.png")
    assert found["note"].data.text.raw == "grüß"
    noted = Annotations(db=db).list_of(ref, Wanted(), FIRST)
    assert {each.input_id for each in noted} == set(found)
    assert {each.user_id for each in noted} == {ANA}
    assert len(Datasets(db=db).list_inputs(ref, "d", FIRST)) == 8
    now = AddJobs(db=db, queue=queue, wait_seconds=0).get(ref, "job")
    assert now.uploads[0].id == upload.id
    assert uploads.get(ref, upload.id).status.code == status_code_pb2.UPLOAD_DONE
    with pytest.raises(InvalidRequest, match="used up"):
        uploads.put_parts(ref, upload.id, parts[:1])


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("turn_seconds", [0.0, 60.0])
def test_an_extraction_killed_anywhere_goes_on_without_a_gap_or_a_double(
    uploads, extractions, extracting, inputs, queue, db, ref, monkeypatch, pack, turn_seconds
):
    monkeypatch.setattr("lehr.services.extracting.MAX_INPUTS", 7)
    object.__setattr__(extracting, "turn_seconds", turn_seconds)
    data = pack({f"{n}.jpg": b"\xff\xd8\xff%d" % n for n in range(60)})
    extractions.post(ref, ANA, [order(sent(uploads, ref, data).id, conflicts=resources_pb2.SUFFIX)])

    class Killed(BaseException):
        pass

    settle, deaths = Extracting._settle, iter(range(100))

    def deadly(self, job, app, batch):
        if next(deaths) % 3 == 1:
            raise Killed  # before the batch is written
        settle(self, job, app, batch)
        if next(deaths) % 3 == 0:
            raise Killed  # after

    monkeypatch.setattr(Extracting, "_settle", deadly)
    for _ in range(100):
        job = queue.claim("worker", kinds=[KIND], lease_seconds=0.01)
        if job is None:
            with db.read() as tx:
                if not any(queue.counts(tx)[state] for state in (State.QUEUED, State.RUNNING)):
                    break
            if extractions.list_of(ref, FIRST)[0].status.code == status_code_pb2.JOB_COMPLETED:
                break
            threading.Event().wait(0.02)
            continue
        try:
            extracting.run(job)
        except (Killed, LeaseLost):
            continue
    assert sorted(int(each.id) for each in inputs.list_of(ref, FIRST)) == list(range(60))
    [done] = extractions.list_of(ref, FIRST)
    assert done.progress.image_inputs_count == 60
    assert done.status.code == status_code_pb2.JOB_COMPLETED


def test_long_archives_let_others_have_their_turn(uploads, extractions, extracting, inputs, queue, ref, monkeypatch):
    monkeypatch.setattr("lehr.services.extracting.MAX_INPUTS", 5)
    object.__setattr__(extracting, "turn_seconds", 0.0)
    data = zipped({f"{n}.jpg": b"\xff\xd8\xff%d" % n for n in range(20)})
    extractions.post(ref, ANA, [order(sent(uploads, ref, data).id)])
    assert worked(extracting, queue) == 5
    assert len(inputs.list_of(ref, FIRST)) == 20


def test_the_same_archive_again_brings_nothing_twice_or_everything_under_other_ids(
    uploads, extractions, extracting, inputs, queue, db, ref
):
    data = zipped({f"{n}.jpg": b"\xff\xd8\xff%d" % n for n in range(3)})
    upload = sent(uploads, ref, data)
    for _ in range(3):  # the same order again
        extractions.post(ref, ANA, [order(upload.id)])
    assert worked(extracting, queue) == 1
    extractions.post(ref, ANA, [order(sent(uploads, ref, data).id, add_job_id="again")])
    worked(extracting, queue)
    assert len(inputs.list_of(ref, FIRST)) == 3
    assert AddJobs(db=db, queue=queue, wait_seconds=0).get(ref, "again").progress.failed_count == 3
    suffixed = order(sent(uploads, ref, data).id, conflicts=resources_pb2.SUFFIX, add_job_id="more")
    extractions.post(ref, ANA, [suffixed])
    worked(extracting, queue)
    assert {each.id for each in inputs.list_of(ref, FIRST)} == {"0", "1", "2", "0-1", "1-1", "2-1"}


def test_what_is_no_input_is_left_out_and_told(uploads, extractions, extracting, inputs, queue, db, ref):
    files = {"a.jpg": b"\xff\xd8\xff", "b.pdf": b"%PDF", "c.zip": zipped({"d.jpg": b"1"}), "empty.jpg": b""}
    files |= {"__MACOSX/x.jpg": b"1", "big.jpg": bytes(2000)}
    extracting = Extracting(
        db=db, blobs=extracting.blobs, queue=queue, fetcher=Fetcher(), bounds=Bounds(max_entry_bytes=1000)
    )
    extractions.post(ref, ANA, [order(sent(uploads, ref, zipped(files)).id)])
    worked(extracting, queue)
    [done] = extractions.list_of(ref, FIRST)
    assert [each.id for each in inputs.list_of(ref, FIRST)] == ["a"]
    assert done.status.details == (
        "1 image inputs came out of 6 entries. 4 were left out: "
        "big.jpg has 2,000 bytes; an input has at most 1,000; b.pdf is neither picture, video, audio nor text; "
        "c.zip is an archive within the archive; empty.jpg is empty."
    )
    assert AddJobs(db=db, queue=queue, wait_seconds=0).get(ref, "job").progress.failed_count == 1


def test_a_damaged_archive_fails_with_its_reason_and_its_upload_stays(uploads, extractions, extracting, queue, db, ref):
    data = tarred({f"{n}.jpg": b"\xff\xd8\xff" * 2000 for n in range(3)})
    upload = sent(uploads, ref, data[:-100])
    extractions.post(ref, ANA, [order(upload.id)])
    worked(extracting, queue)
    [failed] = extractions.list_of(ref, FIRST)
    assert failed.status.code == status_code_pb2.ARCHIVE_EXTRACT_FAILED
    assert "cut off" in failed.status.details
    assert failed.progress.failed_archives_count == 1
    told = AddJobs(db=db, queue=queue, wait_seconds=60).get(ref, "job").status
    assert (told.code, "cut off" in told.details) == (status_code_pb2.JOB_FAILED, True)
    with db.read() as tx:
        assert upload_rows.parts(tx, upload_rows.get(tx, ref, upload.id).key)


def test_extractions_are_cancelled_and_with_the_job_or_the_upload_they_belong_to(
    uploads, extractions, extracting, inputs, queue, db, ref, other_ref
):
    data = zipped({"a.jpg": b"\xff\xd8\xff"})
    ids = [sent(uploads, ref, data).id for _ in range(3)]
    for number, upload_id in enumerate(ids):
        extractions.post(ref, ANA, [order(upload_id, add_job_id=f"job{number}")])
    third, second, first = extractions.list_of(ref, FIRST)
    assert extractions.cancel(ref, []) == []
    with pytest.raises(NotFound):
        extractions.cancel(ref, [first.id, "unknown"])
    with pytest.raises(NotFound):
        extractions.get(other_ref, first.id)
    held = queue.claim("worker", kinds=[KIND])
    [stopped] = extractions.cancel(ref, [first.id])
    assert stopped.status.code == status_code_pb2.JOB_CANCELLED
    with pytest.raises(Cancelled):
        extracting.run(held)
    told = AddJobs(db=db, queue=queue).get(ref, "job0").status
    assert (told.code, "the inputs that came out of it stay" in told.details) == (stopped.status.code, True)
    cancelled = AddJobs(db=db, queue=queue).cancel(ref, "job1")
    assert cancelled.status.code == status_code_pb2.JOB_CANCELLED
    assert extractions.get(ref, second.id).status.code == status_code_pb2.JOB_CANCELLED
    uploads.delete(ref, [ids[2]])
    assert "deleted" in extractions.get(ref, third.id).status.details
    assert worked(extracting, queue) == 0
    assert inputs.list_of(ref, FIRST) == []
    assert extractions.cancel(ref, [first.id])[0].status == stopped.status


def test_orders_that_make_no_sense_are_refused_whole(uploads, extractions, ref):
    Source, Url = resources_pb2.InputsDataSource, resources_pb2.DataSourceURL
    for url in ("s3://bucket/a.zip", "file:///etc/passwd", "", "http://"):
        with pytest.raises(InvalidInput, match="http or https"):
            sourced(Source(url=Url(url=url)))
    secret = Url(url="https://a.b/c", credentials=resources_pb2.DataSourceCredentials(gcp_creds=b"x"))
    with pytest.raises(InvalidRequest, match="signed https URL"):
        sourced(Source(url=secret))
    with pytest.raises(InvalidRequest, match="needs an upload"):
        uploaded(resources_pb2.InputsUpload())
    good = order("", url="https://a.b/c")
    for template, words in (
        (Input(id="x"), "has an id"),
        (Input(data=Data(image=resources_pb2.Image(url="http://a"))), "data.image"),
        (Input(dataset_ids=["none"]), "'none', which does not exist"),
    ):
        with pytest.raises(InvalidInput, match=words):
            extractions.post(ref, ANA, [good, order("", url="https://a.b/d", template=template)])
    assert extractions.list_of(ref, FIRST) == []


def test_archives_behind_urls_are_fetched_within_the_rules_for_urls(
    extractions, extracting, inputs, queue, blobs, db, ref
):
    import http.server

    bodies = {"/a.zip": zipped({"a.jpg": b"\xff\xd8\xff1"}), "/one.jpg": b"\xff\xd8\xff2"}

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = bodies.get(self.path)
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{site.server_port}"
        for name in ("a.zip", "one.jpg", "none.zip"):
            extractions.post(ref, ANA, [order("", url=f"{base}/{name}", add_job_id=name.replace(".", "-"))])
        worked(extracting, queue)
        guarded = Extracting(db=db, blobs=blobs, queue=queue, fetcher=Fetcher())
        extractions.post(ref, ANA, [order("", url=f"{base}/a.zip", add_job_id="a-zip-b")])
        extractions.post(ref, ANA, [order("", url=f"{base}/b.zip", add_job_id="a-zip")])
        worked(guarded, queue)
        site.shutdown()
    states = [each.status.code for each in extractions.list_of(ref, FIRST)]
    assert states == [status_code_pb2.JOB_FAILED] * 3 + [status_code_pb2.JOB_COMPLETED] * 2
    _, private, missing, *_ = extractions.list_of(ref, FIRST)
    assert "not a public address" in private.status.details
    assert "404" in missing.status.details
    assert [each.id for each in inputs.list_of(ref, FIRST)] == ["a", "one"]
    inputs.delete(ref, ["a"])  # so that none of the job waits to be processed
    some = AddJobs(db=db, queue=queue).get(ref, "a-zip").status
    assert some.code == status_code_pb2.JOB_COMPLETED
    assert some.details.startswith("1 of 2 archives not unpacked to the end: ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat.jpg", "cat"),
        ("train/cat/1.jpg", "train-cat-1"),
        ("../../etc/passwd", "etc-passwd"),
        ("/abs.png", "abs"),
        ("a b.jpg", "a-b-"),
        ("ü.jpg", ""),
        ("x" * 80 + ".jpg", "x" * 37 + "-"),
        ("C:\\pictures\\1.jpg", "C--pictures-1-"),
    ],
)
def test_ids_follow_from_names(name, expected):
    made = id_from(name)
    assert made.startswith(expected)
    assert 0 < len(made) <= 48
    assert made == id_from(name)
    assert id_from("a b.jpg") != id_from("a-b.jpg")
    assert is_litter(".hidden/a.jpg")
    assert not is_litter("./a.jpg")
