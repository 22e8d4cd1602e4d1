"""Frozen versions as files and figures, read back as their readers do."""

import io
import json
import zipfile

import pytest

from lehr.errors import InvalidRequest, LehrError, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import to_struct, to_value
from lehr.services import dataset_exports, dataset_metrics
from lehr.services.annotations import Annotations
from lehr.services.dataset_exporting import ExportingDatasets
from lehr.services.dataset_exports import KIND, PENDING, SUCCESS, DatasetExports, format_called, path_of
from lehr.services.dataset_metrics import DatasetMetrics, Wanted
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets
from lehr.services.inputs import Inputs, Upload
from lehr.services.media import HostedMedia
from lehr.services.paging import Paging
from lehr.store import inputs as input_rows
from lehr.store.dataset_exports import ExportRef

Input, Data, Concept = resources_pb2.Input, resources_pb2.Data, resources_pb2.Concept
Export, Region, Info = resources_pb2.DatasetVersionExport, resources_pb2.Region, resources_pb2.RegionInfo
ANA, BASE, OTHER_BASE = "ana", "http://here:1", "http://there:2"
VERSION = ("d", "v")
FIRST = Paging(1, 1000)
WIDTH, HEIGHT = 40, 30


def box(concept, left, top, right, bottom):
    sides = resources_pb2.BoundingBox(left_col=left, top_row=top, right_col=right, bottom_row=bottom)
    return Region(region_info=Info(bounding_box=sides), data=Data(concepts=[Concept(id=concept, value=1)]))


def polygon(concept, *points):
    corners = [resources_pb2.Point(row=row, col=col) for row, col in points]
    info = Info(polygon=resources_pb2.Polygon(points=corners))
    return Region(region_info=info, data=Data(concepts=[Concept(id=concept, value=1)]))


@pytest.fixture
def picture_bytes(picture):
    return {f"i{n}": picture(WIDTH, HEIGHT, seed=n) for n in range(5)}


@pytest.fixture
def version(db, blobs, queue, ref, picture_bytes) -> tuple[str, str]:
    """Five pictures: i0 and i1 are roses, i1 has a box and i2 a polygon of ferns, i3 is for testing; and a text."""
    Datasets(db=db).create(ref, [resources_pb2.Dataset(id="d")])
    orders = [
        Input(id=name, dataset_ids=["d"], data=Data(image=resources_pb2.Image(base64=data)))
        for name, data in picture_bytes.items()
    ]
    for order in orders[:2]:
        order.data.concepts.append(Concept(id="rose", value=1))
    orders[0].data.metadata.CopyFrom(to_struct({"a": 1}))
    orders[1].data.regions.append(box("fern", 0.25, 0.1, 0.75, 0.5))
    orders[2].data.regions.append(polygon("fern", (0, 0), (0, 0.5), (1, 0.5)))
    orders.append(Input(id="t", dataset_ids=["d"], data=Data(text=resources_pb2.Text(raw="words"))))
    Inputs(db=db, blobs=blobs, queue=queue).post(ref, ANA, Upload(inputs=orders))
    split = resources_pb2.Annotation(input_id="i3", annotation_info=to_struct({"split": "test"}), data=Data())
    Annotations(db=db).post(ref, ANA, [split])
    with db.write() as tx:
        for message in input_rows.get_many(tx, ref, picture_bytes).values():
            message.status.code = status_code_pb2.INPUT_DOWNLOAD_SUCCESS
            message.data.image.image_info.CopyFrom(resources_pb2.ImageInfo(width=WIDTH, height=HEIGHT, format="PNG"))
            input_rows.update(tx, ref, [message])
    DatasetVersions(db=db).create(ref, "d", [resources_pb2.DatasetVersion(id="v")])
    return VERSION


@pytest.fixture
def exports(db, queue) -> DatasetExports:
    return DatasetExports(db=db, queue=queue)


@pytest.fixture
def exporting(db, blobs, queue) -> ExportingDatasets:
    return ExportingDatasets(db=db, blobs=blobs, queue=queue)


def worked(exporting):
    while (job := exporting.queue.claim("worker", kinds=[KIND])) is not None:
        exporting.run(job)
        with exporting.db.write() as tx:
            exporting.queue.finish(tx, job)


def export_ref(ref, format):
    return ExportRef(app=ref, dataset_id="d", version_id="v", format=format)


def made(exports, exporting, ref, format) -> zipfile.ZipFile:
    [asked] = exports.request(ref, VERSION, [Export(format=format)], BASE)
    assert asked.status.code == status_code_pb2.DATASET_VERSION_EXPORT_PENDING
    worked(exporting)
    [done] = exports.request(ref, VERSION, [Export(format=format)], BASE)
    assert done.status.code == status_code_pb2.DATASET_VERSION_EXPORT_SUCCESS
    data = exporting.blobs.read(exports.sha(export_ref(ref, format)))
    assert done.size == len(data)
    return zipfile.ZipFile(io.BytesIO(data))


def test_the_protobuf_export_holds_everything_that_was_said_of_each_input(version, exports, exporting, ref):
    archive = made(exports, exporting, ref, resources_pb2.CLARIFAI_DATA_PROTOBUF)
    names = archive.namelist()
    assert archive.read("mimetype") == b"application/x.clarifai-data+protobuf"
    assert sorted(name.partition("/")[0] for name in names[1:]) == ["all", "test"]
    assert sum(int(name.split("_n")[-1]) for name in names[1:]) == 6
    found = {}
    for name in names[1:]:
        batch = resources_pb2.InputBatch()
        batch.MergeFromString(archive.read(name))
        found |= {each.id: each for each in batch.inputs}
    assert set(found) == {"i0", "i1", "i2", "i3", "i4", "t"}
    first = found["i1"].data
    assert [concept.id for concept in first.concepts] == ["rose"]
    assert [region.data.concepts[0].id for region in first.regions] == ["fern"]
    assert first.image.hosted.prefix == f"{BASE}/hosted"
    assert "orig" in first.image.hosted.sizes
    assert found["i0"].data.metadata.fields["a"].number_value == 1


def test_the_json_export_says_the_same(version, exports, exporting, ref):
    archive = made(exports, exporting, ref, resources_pb2.CLARIFAI_DATA_JSON)
    assert archive.read("mimetype") == b"application/x.clarifai-data+json"
    found = [each for name in archive.namelist()[1:] for each in json.loads(archive.read(name))["inputs"]]
    assert {each["id"] for each in found} == {"i0", "i1", "i2", "i3", "i4", "t"}
    [one] = [each for each in found if each["id"] == "i1"]
    assert one["data"]["regions"][0]["region_info"]["bounding_box"]["left_col"] == 0.25


def test_the_coco_export_is_read_by_the_published_tools(version, exports, exporting, ref, picture_bytes, tmp_path):
    coco_tools = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools")
    archive = made(exports, exporting, ref, resources_pb2.COCO)
    archive.extractall(tmp_path)
    coco = coco_tools.COCO(str(tmp_path / "annotations/instances_all.json"))
    names = {category["name"]: number for number, category in coco.cats.items()}
    images = {image["file_name"]: image for image in coco.imgs.values()}
    assert set(images) == {"i0.png", "i1.png", "i2.png", "i4.png"}
    assert (tmp_path / "all/i2.png").read_bytes() == picture_bytes["i2"]
    assert (tmp_path / "test/i3.png").exists()
    [boxed] = coco.loadAnns(coco.getAnnIds(imgIds=[images["i1.png"]["id"]]))
    assert (boxed["category_id"], boxed["bbox"], boxed["area"]) == (names["fern"], [10, 3, 20, 12], 240)
    [outlined] = coco.loadAnns(coco.getAnnIds(imgIds=[images["i2.png"]["id"]]))
    assert outlined["segmentation"] == [[0, 0, 20, 0, 20, 30]]
    assert (outlined["bbox"], outlined["area"]) == ([0, 0, 20, 30], 300)
    assert images["i0.png"]["labels"] == [names["rose"]]
    assert json.loads((tmp_path / "annotations/instances_test.json").read_text())["annotations"] == []


def test_an_export_made_again_is_the_same_file_and_one_under_another_address_is_made_anew(
    version, exports, exporting, ref, monkeypatch
):
    wanted = [Export(format=resources_pb2.CLARIFAI_DATA_PROTOBUF)]
    one = export_ref(ref, resources_pb2.CLARIFAI_DATA_PROTOBUF)
    exports.request(ref, VERSION, wanted, BASE)
    killed = exporting.queue.claim("worker", kinds=[KIND], lease_seconds=0.01)
    assert killed  # its process died: the lease runs out and another one makes it
    while not (job := exporting.queue.claim("other", kinds=[KIND])):
        pass
    exporting.run(job)
    first = exports.sha(one)
    with exporting.db.write() as tx:
        exporting.queue.finish(tx, job)
    exporting.run(job)
    assert exports.sha(one) == first
    [waits] = exports.request(ref, VERSION, wanted, OTHER_BASE)
    assert (waits.status.code, "under http://here:1 was fetched" in waits.status.details) == (PENDING, True)
    assert exports.sha(one) == first, "the first one has yet to fetch it"
    monkeypatch.setattr(dataset_exports, "KEPT_SECONDS", 0)
    exports.request(ref, VERSION, wanted, OTHER_BASE)
    with pytest.raises(NotFound, match="PutDatasetVersionExports"):
        exports.sha(one)
    worked(exporting)
    assert exports.sha(one) != first
    exports.request(ref, VERSION, wanted, BASE)
    worked(exporting)
    assert exports.sha(one) == first


def test_two_who_ask_under_two_addresses_do_not_stop_each_others_exports(version, exports, exporting, ref, db):
    wanted = [Export(format=resources_pb2.CLARIFAI_DATA_JSON)]
    for base in (BASE, OTHER_BASE, BASE, OTHER_BASE):
        [export] = exports.request(ref, VERSION, wanted, base)
        assert export.status.code == PENDING
    job = exporting.queue.claim("worker", kinds=[KIND])
    exports.request(ref, VERSION, wanted, OTHER_BASE)
    exporting.run(job)
    assert exports.request(ref, VERSION, wanted, OTHER_BASE)[0].status.code == PENDING, "not yet marked as finished"
    with db.write() as tx:
        exporting.queue.finish(tx, job)
    assert exports.request(ref, VERSION, wanted, BASE)[0].status.code == SUCCESS
    coco = [Export(format=resources_pb2.COCO)]
    exports.request(ref, VERSION, coco, BASE)
    worked(exporting)
    assert exports.request(ref, VERSION, coco, OTHER_BASE)[0].status.code == SUCCESS, "no address is in it"


def test_an_export_that_fails_says_why_and_is_tried_again(version, exports, exporting, ref, db):
    wanted = [Export(format=resources_pb2.COCO)]
    exports.request(ref, VERSION, wanted, BASE)
    job = exporting.queue.claim("worker", kinds=[KIND])
    with db.write() as tx:
        exporting.queue.fail(tx, job, "no")
        exporting.failed(tx, job, OSError("disk full"))
    [again] = exports.request(ref, VERSION, wanted, BASE)
    assert again.status.code == status_code_pb2.DATASET_VERSION_EXPORT_PENDING
    worked(exporting)
    assert exports.sha(export_ref(ref, resources_pb2.COCO))


def test_what_cannot_be_exported_is_refused(version, exports, ref, other_ref):
    for wanted, words in (
        ([], "1 to 32 exports"),
        ([Export()], "Export format 0"),
        ([Export(format=resources_pb2.COCO, include_embeddings=True)], "include_embeddings"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            exports.request(ref, VERSION, wanted, BASE)
    for app, where in ((ref, ("d", "none")), (ref, ("none", "v")), (other_ref, VERSION)):
        with pytest.raises(NotFound):
            exports.request(app, where, [Export(format=resources_pb2.COCO)], BASE)
    with pytest.raises(NotFound, match="coco"):
        format_called("../../etc")
    assert path_of(export_ref(ref, resources_pb2.COCO)).endswith("/datasets/d/versions/v/coco.zip")


def test_pictures_of_a_version_can_be_fetched_after_their_inputs_are_gone(version, db, blobs, queue, ref, other_ref):
    inputs = Inputs(db=db, blobs=blobs, queue=queue)
    sha = inputs.get(ref, "i0").data.image.hosted.suffix
    inputs.delete(ref, ["i0"])
    assert HostedMedia(db=db).find(ref, sha, "orig").content_type == "image/png"
    with pytest.raises(NotFound):
        HostedMedia(db=db).find(other_ref, sha, "orig")


# -- figures -----------------------------------------------------------------------------------------------------------


def by_value(groups, type_):
    return {
        group.value.string_value or group.value.number_value: group.metrics for group in groups if group.type == type_
    }


Type = resources_pb2.DatasetVersionMetricsGroupType


def test_figures_are_counted_once_and_hold_zeros_too(version, db, queue, ref):
    metrics = DatasetMetrics(db=db, queue=queue)
    groups = metrics.list_of(ref, VERSION, Wanted(), FIRST)
    kinds = by_value(groups, Type.INPUT_TYPE)
    assert {kind: each.inputs_count.value for kind, each in kinds.items()} == {"total": 6, "image": 5, "text": 1}
    assert next(iter(kinds)) == "total"
    total = kinds["total"]
    assert (total.bounding_boxes_count.value, total.polygons_count.value, total.regions_count.value) == (1, 1, 2)
    assert (total.positive_input_tags_count.value, total.inputs_with_metadata_count.value) == (2, 1)
    assert (total.unlabeled_inputs_count.value, total.region_inputs_count.value) == (3, 2)
    concepts = by_value(groups, Type.CONCEPT_ID)
    assert concepts["rose"].positive_input_tags_count.value == 2
    assert concepts["rose"].HasField("bounding_boxes_count")
    assert (concepts["fern"].bounding_boxes_count.value, concepts["fern"].polygons_count.value) == (1, 1)
    assert concepts["fern"].inputs_count.value == 2
    assert {n: each.inputs_count.value for n, each in by_value(groups, Type.CONCEPTS_COUNT).items()} == {
        0: 3,
        1: 2,
        2: 1,
    }
    assert by_value(groups, Type.PIXELS_COUNT)[WIDTH * HEIGHT].inputs_count.value == 5
    assert by_value(groups, Type.ASPECT_RATIO)[1.33].inputs_count.value == 5
    Annotations(db=db).delete(ref, ["i1"])
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST) == groups
    wanted = Wanted(types=[Type.CONCEPT_ID], values=[to_value("fern")])
    [only] = metrics.list_of(ref, VERSION, wanted, FIRST)
    assert only.value.string_value == "fern"
    assert metrics.list_of(ref, VERSION, Wanted(), Paging(2, 1)) == [groups[1]]
    with pytest.raises(NotFound):
        metrics.list_of(ref, ("d", "none"), Wanted(), FIRST)


def test_an_empty_version_has_a_total_of_nothing(db, queue, ref):
    Datasets(db=db).create(ref, [resources_pb2.Dataset(id="d")])
    DatasetVersions(db=db).create(ref, "d", [resources_pb2.DatasetVersion(id="v")])
    [total] = by_value(
        DatasetMetrics(db=db, queue=queue).list_of(ref, VERSION, Wanted(), FIRST), Type.INPUT_TYPE
    ).items()
    assert (total[0], total[1].inputs_count.value) == ("total", 0)


def test_large_versions_are_counted_by_a_job(version, db, queue, ref, monkeypatch):
    metrics = DatasetMetrics(db=db, queue=queue)
    expected = metrics._counted(ref, VERSION).dataset_version_metrics_groups
    with db.write() as tx:
        tx.exec_driver_sql("DELETE FROM dataset_metrics")
    monkeypatch.setattr(dataset_metrics, "COUNTED_AT_ONCE", 3)
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST) == []
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST) == []
    job = queue.claim("worker", kinds=[dataset_metrics.KIND])
    assert queue.claim("worker", kinds=[dataset_metrics.KIND]) is None
    metrics.run(job)
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST) == list(expected)


def test_figures_that_could_not_be_counted_do_not_look_as_if_they_were_waited_for(version, db, queue, ref, monkeypatch):
    metrics = DatasetMetrics(db=db, queue=queue)
    monkeypatch.setattr(dataset_metrics, "COUNTED_AT_ONCE", 3)
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST) == []
    job = queue.claim("worker", kinds=[dataset_metrics.KIND])
    with db.write() as tx:
        queue.fail(tx, job, "the disk is full")
    with pytest.raises(LehrError, match="could not be counted: the disk is full") as told:
        metrics.list_of(ref, VERSION, Wanted(), FIRST)
    assert told.value.code == status_code_pb2.DATASET_VERSION_UNEXPECTED_ERROR
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST) == [], "now they are waited for"
    metrics.run(queue.claim("worker", kinds=[dataset_metrics.KIND]))
    assert metrics.list_of(ref, VERSION, Wanted(), FIRST)
