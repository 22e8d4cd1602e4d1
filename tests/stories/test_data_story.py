"""Data on its way in and out of a real server: archives in parts, imports, exports, bulk operations, backups."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from clarifai.client.app import App
from clarifai.client.dataset import Dataset
from clarifai.client.user import User
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, Client
from lehr_server import TOKEN, Server, wait_until
from victims import WORKER, below, kill

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
PART = 64 * 1024


def an_app(server: Server, face: str, app_id: str) -> Client:
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    return Client(face, server.base, TOKEN, app_id)


def zipped(pictures) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, concept, png in pictures:
            archive.writestr(f"{concept}/{name}.png", png)
    return out.getvalue()


def tarred(pictures) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, concept, png in pictures:
            info = tarfile.TarInfo(f"{concept}/{name}.png")
            info.size = len(png)
            archive.addfile(info, io.BytesIO(png))
    return out.getvalue()


def add_job(client: Client, job_id: str):
    return client.must("GetInputsAddJob", id=job_id).inputs_add_job


@pytest.mark.parametrize(("face", "pack"), list(zip(FACES, (zipped, tarred), strict=True)))
def test_an_archive_sent_in_shuffled_parts_becomes_inputs(server, digits, face, pack):
    client = an_app(server, face, f"archive-{face.lower()}")
    client.must("PostDatasets", datasets=[r.Dataset(id="d")])
    data = pack(digits(150))
    template = r.Input(dataset_ids=["d"], data=r.Data(concepts=[r.Concept(id="digit", value=1)]))
    upload = r.Upload(id="up", content_name="digits", content_length=len(data))
    order = r.InputsUpload(inputs_add_job_id="job", upload=upload, input_template=template)
    [job] = client.must("PostInputsUploads", inputs_uploads=[order]).inputs_add_jobs
    assert job.uploads[0].status.code == codes.UPLOAD_IN_PROGRESS
    parts = [
        r.UploadContentPart(range_start=at, data=data[at : at + PART // 8]) for at in range(0, len(data), PART // 8)
    ]
    random.Random(0).shuffle(parts)
    for part in parts:
        answer = client.must("PutUploadContentParts", upload_id="up", content_parts=[part])
    assert answer.upload.status.code == codes.UPLOAD_DONE
    wait_until(lambda: add_job(client, "job").status.code == codes.JOB_COMPLETED, what="the archive's end")
    assert add_job(client, "job").progress.success_count == 150
    [extraction] = client.must("ListInputsExtractionJobs").inputs_extraction_jobs
    assert extraction.progress.image_inputs_count == 150
    again = client.must("GetInputsExtractionJob", inputs_extraction_job_id=extraction.id).inputs_extraction_job
    assert again.status.code == codes.JOB_COMPLETED
    assert client.must("GetUpload", upload_id="up").upload.content_length == len(data)
    assert [each.id for each in client.must("ListUploads").uploads] == ["up"]
    seen, last = [], ""
    while some := client.must("StreamInputs", per_page=40, last_id=last).inputs:
        seen, last = seen + [each.id for each in some], some[-1].id
    assert len(seen) == len(set(seen)) == 150
    client.must("DeleteUploads", ids=["up"])
    assert client.ask("GetUpload", upload_id="up").status.code == codes.CONN_DOES_NOT_EXIST
    refused = client.ask("PostInputsDataSources", data_sources=[r.InputsDataSource(url=r.DataSourceURL(url="ftp://a"))])
    assert refused.status.code == codes.INPUT_INVALID_URL
    bulk_operations(client)


@pytest.mark.parametrize("face", FACES)
def test_uploads_are_opened_once_and_an_archive_that_waits_for_one_is_cancelled(server, digits, face):
    client = an_app(server, face, f"opened-{face.lower()}")
    data = zipped(digits(3))
    wanted = [r.Upload(id="one", content_length=len(data)), r.Upload(id="two", content_length=5)]
    opened = client.must("PostUploads", uploads=wanted).uploads
    assert [(each.id, each.status.code) for each in opened] == [
        ("one", codes.UPLOAD_IN_PROGRESS),
        ("two", codes.UPLOAD_IN_PROGRESS),
    ]
    client.must("PutUploadContentParts", upload_id="one", content_parts=[r.UploadContentPart(data=data[:10])])
    [again] = client.must("PostUploads", uploads=wanted[:1]).uploads
    assert again.created_at == opened[0].created_at
    assert "The first byte that is missing is 10" in client.must("GetUpload", upload_id="one").upload.status.details
    other = client.ask("PostUploads", uploads=[r.Upload(id="one", content_length=7)]).status
    assert f"{len(data):,} bytes and not 7" in other.details

    order = r.InputsUpload(inputs_add_job_id="job", upload=r.Upload(id="one"))
    client.must("PostInputsUploads", inputs_uploads=[order])
    [waiting] = client.must("ListInputsExtractionJobs").inputs_extraction_jobs
    assert not client.must("CancelInputsExtractionJobs", ids=[]).inputs_extraction_jobs
    [stopped] = client.must("CancelInputsExtractionJobs", ids=[waiting.id]).inputs_extraction_jobs
    assert stopped.status.code == codes.JOB_CANCELLED
    rest = r.UploadContentPart(range_start=10, data=data[10:])
    done = client.must("PutUploadContentParts", upload_id="one", content_parts=[rest]).upload
    assert done.status.code == codes.UPLOAD_DONE
    job = client.must("GetInputsExtractionJob", inputs_extraction_job_id=waiting.id).inputs_extraction_job
    assert job.status.code == codes.JOB_CANCELLED
    assert add_job(client, "job").progress.success_count == 0
    assert not client.must("ListInputs").inputs
    unknown = client.ask("CancelInputsExtractionJobs", ids=["nobody"]).status
    assert (unknown.code, "'nobody'" in unknown.details) == (codes.CONN_DOES_NOT_EXIST, True)


@pytest.mark.parametrize("face", FACES)
def test_a_frozen_version_tells_its_figures(server, digits, face):
    client = an_app(server, face, f"figures-{face.lower()}")
    client.must("PostDatasets", datasets=[r.Dataset(id="d")])
    box = r.Region(
        region_info=r.RegionInfo(bounding_box=r.BoundingBox(bottom_row=0.5, right_col=0.5)),
        data=r.Data(concepts=[r.Concept(id="stroke", value=1)]),
    )
    inputs = [
        r.Input(
            id=name,
            dataset_ids=["d"],
            data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]),
        )
        for name, concept, png in digits(12)
    ]
    client.must("PostInputs", inputs=[*inputs, r.Input(id="words", dataset_ids=["d"], data={"text": {"raw": "x"}})])
    client.must("PostAnnotations", annotations=[r.Annotation(input_id=inputs[0].id, data=r.Data(regions=[box, box]))])
    wait_until(lambda: client.must("GetInputCount").counts.processed == 13, what="processing")
    [made] = client.must(
        "PostDatasetVersions", dataset_id="d", dataset_versions=[r.DatasetVersion(id="v")]
    ).dataset_versions
    assert not made.status.details
    named = {"dataset_id": "d", "dataset_version_id": "v"}

    def groups(**wanted):
        answer = client.must("ListDatasetVersionMetricsGroups", **named, **wanted)
        return {each.value.string_value: each.metrics for each in answer.dataset_version_metrics_groups}

    client.must("DeleteInputs", ids=[inputs[1].id])  # the version is frozen
    by_type = groups(types=["INPUT_TYPE"])
    assert {name: each.inputs_count.value for name, each in by_type.items()} == {"total": 13, "image": 12, "text": 1}
    by_concept = groups(types=["CONCEPT_ID"], per_page=100)
    expected = {concept for _, concept, _ in digits(12)} | {"stroke"}
    assert set(by_concept) == expected
    assert by_concept["stroke"].bounding_boxes_count.value == 2
    assert by_concept["stroke"].HasField("polygons_count")  # zeros are there: the package adds them without looking
    assert by_concept["digit-0"].positive_input_tags_count.value == 2
    assert len(groups(types=["CONCEPT_ID"], per_page=4, page=2)) == 4
    assert groups(types=["CONCEPT_ID"], per_page=4, page=9) == {}
    unknown = client.ask("ListDatasetVersionMetricsGroups", dataset_id="d", dataset_version_id="none").status
    assert unknown.code != codes.SUCCESS
    assert "'none'" in unknown.details


def bulk_operations(client: Client) -> None:
    add = r.Operation(add_concepts=r.AddConcepts(concepts=[r.Concept(id="seen", value=1)]))
    operation = r.BulkOperation(id="b", dataset=r.Dataset(id="d"), operation=add)
    client.must("PostBulkOperations", bulk_operations=[operation])

    def now():
        return client.must("GetBulkOperation", id="b").bulk_operation

    wait_until(lambda: now().status.code == codes.BULK_OPERATION_SUCCESS, what="the bulk operation")
    assert now().progress.processed == 150
    for item in client.must("ListInputs", per_page=200).inputs:
        assert {concept.id for concept in item.data.concepts} == {"digit", "seen"}
    assert [each.id for each in client.must("ListBulkOperations").bulk_operation] == ["b"]
    client.must("CancelBulkOperations", ids=["b"])
    client.must("DeleteBulkOperations", ids=["b"])


def test_an_extraction_goes_on_by_itself_when_its_workers_are_killed(own_server, digits):
    own_server.start()
    client = an_app(own_server, GRPC, "killed")
    data = tarred(digits(1500))
    order = r.InputsUpload(inputs_add_job_id="job", upload=r.Upload(id="up", content_length=len(data)))
    order.input_id_conflict_resolution = r.SUFFIX  # a double would get in
    client.must("PostInputsUploads", inputs_uploads=[order])
    client.must("PutUploadContentParts", upload_id="up", content_parts=[r.UploadContentPart(data=data)])

    def out() -> int:
        [extraction] = client.must("ListInputsExtractionJobs").inputs_extraction_jobs
        return extraction.progress.image_inputs_count

    for enough in (1, 300, 700):
        wait_until(lambda enough=enough: out() >= enough, what=f"{enough} inputs")
        for worker in below(own_server.process.pid, WORKER):
            kill(worker)
    own_server.kill()
    own_server.start()
    client = Client(GRPC, own_server.base, TOKEN, "killed")
    wait_until(lambda: add_job(client, "job").status.code == codes.JOB_COMPLETED, 120, "the archive's end")
    assert out() == 1500
    counts = client.must("GetInputCount").counts
    assert (counts.processed, counts.errors) == (1500, 0)


# -- the published package ---------------------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Six pictures with a box or two each, as COCO."""
    from PIL import Image

    images, notes = [], []
    for number in range(6):
        name = f"p{number}.png"
        (tmp_path / "coco/train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), (40 * number, 0, 0)).save(tmp_path / "coco/train" / name)
        images.append({"id": number, "file_name": name, "width": 40, "height": 20})
        for _ in range(1 + number % 2):
            box = [10 + number, 5, 20, 10]
            notes.append(
                {"id": len(notes), "image_id": number, "category_id": 1 + number % 2, "bbox": box, "area": 200}
            )
    content = {
        "images": images,
        "annotations": notes,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    path = tmp_path / "coco/annotations/instances_train.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return tmp_path / "coco"


def test_the_packages_own_loader_uploads_coco_counts_it_and_exports_it(server, coco, tmp_path, monkeypatch):
    pytest.importorskip("pycocotools", reason="pip install pycocotools")
    from clarifai.datasets.upload.loaders.coco_detection import COCODetectionDataLoader

    monkeypatch.chdir(tmp_path)
    app: App = User(user_id="lehr", base_url=server.base, pat=TOKEN).create_app("loader", base_workflow="Empty")
    dataset: Dataset = app.create_dataset("d")
    loader = COCODetectionDataLoader(str(coco / "train"), str(coco / "annotations/instances_train.json"))
    dataset.upload_dataset(dataloader=loader, get_upload_status=True)
    client = Client(GRPC, server.base, TOKEN, "loader")
    assert client.must("GetInputCount").counts.processed == 6
    noted = client.must("ListAnnotations", per_page=100, list_all_annotations=True).annotations
    assert sum(len(each.data.regions) for each in noted) == 9

    version = dataset.create_version(description="to export")
    url = version.archive_zip()
    assert "/exports/users/lehr/apps/loader/datasets/d/" in url
    archive = tmp_path / "export.zip"
    version.export(save_path=str(archive), split="train")
    names = zipfile.ZipFile(archive).namelist()
    assert sum(name.startswith("train/inputs/") for name in names) == 6
    assert sum(name.startswith("train/annotations/") for name in names) == 6
    assert len(list(version)) == 6


def lehr(server: Server, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    known = {"CLARIFAI_API_BASE": server.base, "CLARIFAI_USER_ID": "lehr", "CLARIFAI_PAT": TOKEN}
    return subprocess.run(
        [sys.executable, "-m", "lehr", *arguments],
        env={**os.environ, **known, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_import_is_safe_to_repeat_and_comes_back_out_as_it_went_in(server, coco, tmp_path):
    first = lehr(server, "import", str(coco), "--app", "imported", "--dataset", "d")
    assert first.returncode == 0, first.stderr + first.stdout
    assert "6 pictures are new in imported/d, 0 were there already" in first.stdout
    again = lehr(server, "import", str(coco), "--app", "imported", "--dataset", "d")
    assert "0 pictures are new in imported/d, 6 were there already" in again.stdout
    client = Client(GRPC, server.base, TOKEN, "imported")
    noted = client.must("ListAnnotations", per_page=100, list_all_annotations=True).annotations
    assert sum(len(each.data.regions) for each in noted) == 9
    assert sum(each.id == "split" for each in noted) == 6

    client.must("PostDatasetVersions", dataset_id="d", dataset_versions=[r.DatasetVersion(id="v")])
    wanted = {"dataset_id": "d", "dataset_version_id": "v", "exports": [r.DatasetVersionExport(format=r.COCO)]}

    def export():
        [one] = client.must("PutDatasetVersionExports", **wanted).exports
        return one if one.status.code == codes.DATASET_VERSION_EXPORT_SUCCESS else None

    answer = client.http.get(wait_until(export, what="the export").url)
    assert answer.headers["content-type"] == "application/zip"
    out = tmp_path / "out"
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(out)
    back = lehr(server, "import", str(out), "--app", "back", "--dataset", "d")
    assert back.returncode == 0, back.stderr + back.stdout
    assert boxes(Client(GRPC, server.base, TOKEN, "back")) == boxes(client)


def boxes(client: Client) -> list[tuple]:
    found = []
    for note in client.must("ListAnnotations", per_page=100, list_all_annotations=True).annotations:
        for region in note.data.regions:
            box = region.region_info.bounding_box
            sides = (box.left_col, box.top_row, box.right_col, box.bottom_row)
            found.append((note.input_id.rpartition("-")[2], region.data.concepts[0].id, *(round(s, 4) for s in sides)))
    return sorted(found)


def test_a_backup_of_a_running_server_is_a_whole_server_in_an_empty_home(own_server, digits, tmp_path):
    own_server.start()
    client = an_app(own_server, GRPC, "kept")
    inputs = [
        r.Input(id=name, data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]))
        for name, concept, png in digits(30)
    ]
    client.must("PostInputs", inputs=inputs)
    wait_until(lambda: client.must("GetInputCount").counts.processed == 30, what="processing")
    file = tmp_path / "kept.tar"
    told = lehr(own_server, "backup", str(file), "--home", str(own_server.home))
    assert told.returncode == 0, told.stderr
    assert "30 blobs" in told.stdout
    refused = lehr(own_server, "restore", str(file), "--home", str(own_server.home))
    assert refused.returncode == 1
    assert "restore into an empty home" in refused.stderr
    own_server.stop()
    new = Server(tmp_path / "new")
    assert lehr(own_server, "restore", str(file), "--home", str(new.home)).returncode == 0
    new.start()
    try:
        client = Client(GRPC, new.base, TOKEN, "kept")
        listed = client.must("ListInputs", per_page=100).inputs
        assert [(each.id, each.data.concepts[0].id) for each in listed] == [(name, c) for name, c, _ in digits(30)]
        assert client.http.get(listed[7].data.image.url).content == digits(30)[7][2]
    finally:
        new.stop()
