"""Data on its way in and out, over every database: parts, archives, bulk operations, exports, figures."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.services import bulk_operations, dataset_exports, extraction_states
from lehr.services.bulk_operations import BulkOperations
from lehr.services.bulk_running import BulkRunning
from lehr.services.dataset_exporting import ExportingDatasets
from lehr.services.dataset_exports import DatasetExports
from lehr.services.dataset_metrics import DatasetMetrics, Wanted
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets
from lehr.services.extracting import Extracting
from lehr.services.extractions import Extractions, Order
from lehr.services.inputs import Inputs
from lehr.services.paging import Paging
from lehr.services.uploads import Uploads, expire
from lehr.serving.fetch import Fetcher
from lehr.store import apps, users
from lehr.store.blobs import LocalBlobs

REF = AppRef("ana", "flowers")
FIRST = Paging(1, 1000)


def worked(queue: Queue, kind: str, run) -> None:
    while (job := queue.claim("worker", kinds=[kind])) is not None:
        run(job)
        with queue.db.write() as tx:
            if not queue.view(tx, job.id).state.is_final:
                queue.finish(tx, job)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def test_from_parts_of_an_archive_to_an_export_and_back_to_nothing(db, blobs):
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id=REF.user_id))
        apps.insert(tx, resources_pb2.App(id=REF.app_id, user_id=REF.user_id, name="x"))
    queue = Queue(db)
    Datasets(db=db).create(REF, [resources_pb2.Dataset(id=each) for each in ("d", "half")])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(10):
            archive.writestr(f"{number}.txt", f"text {number}")
    data = out.getvalue()
    uploads = Uploads(db=db, blobs=blobs, queue=queue)
    [upload] = uploads.post(REF, [resources_pb2.Upload(id="u", content_length=len(data))])
    order = Order(add_job_id="job", template=resources_pb2.Input(dataset_ids=["d"]), conflicts=0, upload=upload)
    for _ in range(2):
        Extractions(db=db, queue=queue).post(REF, "ana", [order])
    parts = [
        resources_pb2.UploadContentPart(range_start=at, data=data[at : at + 300]) for at in range(0, len(data), 300)
    ]
    uploads.put_parts(REF, "u", parts[2:])
    assert uploads.get(REF, "u").status.details.endswith("missing is 0.")
    uploads.put_parts(REF, "u", parts[:1])
    assert uploads.get(REF, "u").status.details.endswith("missing is 300.")
    uploads.put_parts(REF, "u", parts)
    worked(queue, extraction_states.KIND, Extracting(db=db, blobs=blobs, queue=queue, fetcher=Fetcher()).run)
    inputs = Inputs(db=db, blobs=blobs, queue=queue)
    assert len(inputs.list_of(REF, FIRST)) == 10
    assert [each.id for each in inputs.stream(REF, "7", 5)] == ["8", "9"]
    assert [each.id for each in inputs.stream(REF, "2x", 2, by_id=True, descending=True)] == ["2", "1"]

    service = BulkOperations(db=db, queue=queue, searches=None)
    part = resources_pb2.DatasetSplit(dataset=resources_pb2.Dataset(id="half"), percentage=50)
    split = resources_pb2.SplitIntoDatasets(dataset_splits=[part], method=1)
    label = resources_pb2.AddConcepts(concepts=[resources_pb2.Concept(id="rose", value=1)])
    for operation in (resources_pb2.Operation(split_into_datasets=split), resources_pb2.Operation(add_concepts=label)):
        source = resources_pb2.Dataset(id="d")
        service.post(REF, "ana", [resources_pb2.BulkOperation(dataset=source, operation=operation)])
        worked(queue, bulk_operations.KIND, BulkRunning(db=db, queue=queue, batch=3).run)
    assert {each.status.code for each in service.list_of(REF, FIRST)} == {status_code_pb2.BULK_OPERATION_SUCCESS}
    assert len(Datasets(db=db).list_inputs(REF, "half", FIRST)) == 5

    DatasetVersions(db=db).create(REF, "d", [resources_pb2.DatasetVersion(id="v")])
    groups = DatasetMetrics(db=db, queue=queue).list_of(REF, ("d", "v"), Wanted(), FIRST)
    assert groups == DatasetMetrics(db=db, queue=queue).list_of(REF, ("d", "v"), Wanted(), FIRST)
    assert groups[0].metrics.positive_input_tags_count.value == 10
    exports = DatasetExports(db=db, queue=queue)
    wanted = [resources_pb2.DatasetVersionExport(format=each) for each in (1, 2, 3)]
    exports.request(REF, ("d", "v"), wanted, "http://here")
    worked(queue, dataset_exports.KIND, ExportingDatasets(db=db, blobs=blobs, queue=queue).run)
    done = exports.request(REF, ("d", "v"), wanted, "http://here")
    assert {each.status.code for each in done} == {status_code_pb2.DATASET_VERSION_EXPORT_SUCCESS}
    assert expire(db, queue) == 0
    assert uploads.delete(REF, ["u"]) == 1
