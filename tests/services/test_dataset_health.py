"""What a health report finds, on real pictures in a real store; and that a killed check goes on where it was."""

import io

import numpy as np
import pytest
from PIL import Image

from lehr.errors import LeaseLost, NotFound
from lehr.learn.items import Box
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.services.dataset_health import KIND, HealthChecks, HealthReports
from lehr.services.health_findings import Facts, report_of
from lehr.serving.decoders import DecoderPool
from lehr.store import annotations, datasets, health, inputs
from lehr.store.inputs import NewInput

GOOD = status_code_pb2.INPUT_DOWNLOAD_SUCCESS


def jpeg(seed: int, quality: int = 90) -> bytes:
    """A smooth picture, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.fixture
def filled(db, blobs, ref):
    """Twelve pictures in the data set `all`: one twice in another quality and with another label, one broken."""
    pictures = {f"p{index:02d}": jpeg(index) for index in range(10)} | {"copy": jpeg(0, 60), "broken": b"no picture"}
    with db.write() as tx:
        datasets.insert(tx, ref, [r.Dataset(id="all")])
        for input_id, data in pictures.items():
            info = r.ImageInfo(width=320, height=240, format="JPEG")
            message = r.Input(id=input_id, data=r.Data(image=r.Image(image_info=info)))
            message.status.code = GOOD
            inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(data))])
        datasets.add_inputs(tx, ref, "all", list(pictures))
        notes = [
            _label(each, "rose" if each < "p07" and each != "copy" else "lily") for each in pictures if each != "p09"
        ]
        annotations.insert(tx, ref, [*notes, _tiny_box("p03")])
    return db


def _label(input_id: str, concept: str) -> r.Annotation:
    data = r.Data(concepts=[r.Concept(id=concept, value=1)])
    return _note(input_id, f"label-{input_id}", data)


def _tiny_box(input_id: str) -> r.Annotation:
    corners = r.BoundingBox(top_row=0.5, left_col=0.5, bottom_row=0.505, right_col=0.9)
    region = r.Region(
        region_info=r.RegionInfo(bounding_box=corners), data=r.Data(concepts=[r.Concept(id="rose", value=1)])
    )
    return _note(input_id, "tiny", r.Data(regions=[region]))


def _note(input_id: str, id_: str, data: r.Data) -> r.Annotation:
    made = r.Annotation(id=id_, input_id=input_id, user_id="ana", data=data)
    made.status.code = status_code_pb2.ANNOTATION_SUCCESS
    return made


def _checks(db, blobs, queue, decoders) -> HealthChecks:
    return HealthChecks(db=db, blobs=blobs, queue=queue, decoders=decoders)


def test_a_report_names_the_pictures_behind_each_finding(filled, blobs, queue, ref):
    reports = HealthReports(db=filled, queue=queue)
    reports.request(ref, "all")
    assert reports.get(ref, "all").is_running
    job = queue.claim("me", kinds=[KIND])
    with DecoderPool(1) as decoders:
        _checks(filled, blobs, queue, decoders).run(job)
    report = reports.get(ref, "all").report
    found = {finding.kind: finding.item_ids for finding in report.findings}
    assert found["unreadable"] == ("broken",)
    assert found["unlabelled"] == ("p09",)
    assert set(found["near_duplicates"]) == {"p00", "copy"}
    assert set(found["contradictions"]) == {"p00", "copy"}
    assert found["tiny_boxes"] == ("p03",)
    assert "few_positives" in found
    assert (report.num_items, report.num_boxes) == (11, 1)
    assert {each.id: each.num_items for each in report.concepts} == {"rose": 7, "lily": 3}


def test_a_check_that_lost_its_lease_keeps_what_it_saw_and_writes_no_report(filled, blobs, queue, ref):
    reports = HealthReports(db=filled, queue=queue)
    reports.request(ref, "all")
    job = queue.claim("me", kinds=[KIND])

    class Dying(DecoderPool):
        """Loses the job while it looks at the first picture."""

        def decode(self, data, *, shorter_side=None):
            with filled.write() as tx:
                queue.cancel(tx, job.subject)
            return super().decode(data, shorter_side=shorter_side)

    from lehr.errors import Cancelled

    with Dying(1) as decoders, pytest.raises((Cancelled, LeaseLost)):
        _checks(filled, blobs, queue, decoders).run(job)
    assert reports.get(ref, "all").report is None
    assert not reports.get(ref, "all").is_running


def test_a_long_check_lets_others_have_their_turn_and_goes_on_behind_them(filled, blobs, queue, ref, monkeypatch):
    monkeypatch.setattr("lehr.services.dataset_health._PORTION", 5)
    reports = HealthReports(db=filled, queue=queue)
    reports.request(ref, "all")
    ran = []
    with DecoderPool(1) as decoders:
        checks = HealthChecks(db=filled, blobs=blobs, queue=queue, decoders=decoders, turn_seconds=0)
        with filled.write() as tx:
            queue.add(tx, "other", {}, "other")
        while job := queue.claim("me", kinds=[KIND, "other"]):
            ran.append(job.kind)
            if job.kind == "other":
                assert reports.get(ref, "all").is_running
            else:
                checks.run(job)
            with filled.write() as tx:
                queue.finish(tx, job) if job.kind == "other" or reports.get(ref, "all").report else None
    assert ran == [KIND, "other", KIND, KIND], "twelve pictures, five at a time"
    assert reports.get(ref, "all").report.num_items == 11
    assert not reports.get(ref, "all").is_running


def test_a_second_check_decodes_nothing_again(filled, blobs, queue, ref):
    reports = HealthReports(db=filled, queue=queue)
    with DecoderPool(1) as decoders:
        for _ in range(2):
            reports.request(ref, "all")
            job = queue.claim("me", kinds=[KIND])
            decoded = []
            real = decoders.decode
            decoders.decode = lambda data, real=real, decoded=decoded, **options: (
                decoded.append(1) or real(data, **options)
            )
            _checks(filled, blobs, queue, decoders).run(job)
            with filled.write() as tx:
                queue.finish(tx, job)
            decoders.decode = real
    assert len(decoded) == 1, "only the broken one, which has no signature"


def test_inputs_that_were_refused_count_as_unreadable(filled, ref):
    message = r.Input(id="gone", data=r.Data(image=r.Image(url="http://example.com/a.jpg")))
    message.status.code, message.status.details = status_code_pb2.INPUT_DOWNLOAD_FAILED, "It was not there."
    with filled.write() as tx:
        inputs.insert(tx, ref, [NewInput(message=message, content_sha="")])
        datasets.add_inputs(tx, ref, "all", ["gone"])
    with filled.read() as tx:
        assert [each.id for each in health.unready(tx, ref, "all", limit=10)] == ["gone"]


def test_a_data_set_that_is_none_is_a_sentence(db, queue, ref):
    reports = HealthReports(db=db, queue=queue)
    with pytest.raises(NotFound):
        reports.request(ref, "none")
    with pytest.raises(NotFound):
        reports.get(ref, "none")


def test_rare_concepts_and_an_empty_data_set_are_told():
    items = [
        Facts(
            id=f"i{n}", width=900, height=900, positives=frozenset({"rare" if n == 0 else "often"}), boxes=(), group=n
        )
        for n in range(41)
    ]
    kinds = [finding.kind for finding in report_of(items, {}).findings]
    assert kinds == ["few_positives", "imbalance"]
    assert report_of([], {}).findings[0].level == "bad"
    good = [
        Facts(id=f"i{n}", width=900, height=900, positives=frozenset({"ab"[n % 2]}), boxes=(), group=n)
        for n in range(40)
    ]
    assert report_of(good, {}).findings == ()


def test_pictures_smaller_than_they_are_usually_trained_at_are_told():
    def facts(n: int, **own) -> Facts:
        return Facts(**{"id": f"i{n}", "positives": frozenset({"ab"[n % 2]}), "boxes": (), "group": n, **own})

    small = [facts(n, width=160, height=100) for n in range(40)]
    [finding] = report_of(small, {}).findings
    assert (finding.kind, len(finding.item_ids)) == ("small_pictures", 40)
    assert "40 items of 40 are smaller than image_size 256 (the median's shorter side is 100)" in finding.text
    assert "image_size 128" in finding.text
    tiny = Box(concept="a", top=0.1, left=0.1, bottom=0.11, right=0.2)
    kinds = [each.kind for each in report_of([*small, facts(40, width=160, height=100, boxes=(tiny,))], {}).findings]
    assert kinds == ["tiny_boxes"], "what enlarges pictures helps here"
