"""Videos through the published clients: frames are annotated, a classifier learns from them, each frame is told."""

from __future__ import annotations

import numpy as np
import pytest
from clarifai.client.model import Model
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, Client
from films import BLUE, GREEN, HEIGHT, RED, WIDTH, film
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}
SMALL = {
    "template": "classification_cifar10_v1",
    "num_epochs": 12,
    "batch_size": 16,
    "width_multiplier": 0.25,
    "seed": 0,
}
FRAMES_PER_VIDEO, FPS = 30, 4


def shown(names: list[str], seed: int, kind: str = "MP4") -> bytes:
    """A video whose frames are noisy pictures of these colours."""
    dice = np.random.default_rng(seed)
    noisy = [dice.normal(COLOURS[name], 25, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8) for name in names]
    return film(noisy, fps=FPS, kind=kind)


def order(seed: int, number: int = FRAMES_PER_VIDEO) -> list[str]:
    """Which colour each frame has."""
    return np.random.default_rng(seed).choice(list(COLOURS), number).tolist()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.slow
def test_frames_are_annotated_trained_on_and_predicted(server, tmp_path, face):
    app_id = f"films-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id, sample_ms=500)])
    client = Client(face, server.base, TOKEN, app_id)
    uploads(client)
    annotates(client)
    version_id = trains(client)
    if face == GRPC:
        evaluation_names_the_frames(client, version_id)
    names = ["red", "red", "green", "green", "blue", "blue", "red", "red"]
    tells_each_frame(client, shown(names, 99), ["red", "green", "blue", "red"])
    tells_each_frame(client, shown(names, 99, "GIF"), ["red", "green", "blue", "red"])
    chooses(client, shown(names, 98))
    by_id_and_beside_pictures(client)
    refuses(client)
    if face == GRPC:
        with_the_python_package(server, app_id, version_id, tmp_path, shown(names, 97))


def uploads(client: Client) -> None:
    videos = [r.Input(id=f"film{n}", data=r.Data(video=r.Video(base64=shown(order(n), n)))) for n in range(4)]
    answer = client.must("PostInputs", inputs=videos)
    assert {item.status.code for item in answer.inputs} == {codes.INPUT_DOWNLOAD_PENDING}
    wait_until(lambda: client.must("GetInputCount").counts.processed == 4, what="processing the videos")
    info = client.must("GetInput", input_id="film0").input.data.video.video_info
    assert (info.frame_count, info.fps, info.video_format) == (FRAMES_PER_VIDEO, FPS, "MP4")
    page = client.http.get(client.must("GetInput", input_id="film0").input.data.video.thumbnail_url)
    assert (page.status_code, page.headers["content-type"]) == (200, "image/jpeg")


def annotates(client: Client) -> None:
    """Each frame on its own, at a time within it, as annotation tools send them."""
    notes = [
        r.Annotation(
            input_id=f"film{n}",
            data=r.Data(
                frames=[
                    r.Frame(
                        frame_info=r.FrameInfo(time=1000 * number // FPS + 100),
                        data=r.Data(concepts=[r.Concept(id=name, value=1)]),
                    )
                ]
            ),
        )
        for n in range(4)
        for number, name in enumerate(order(n))
    ]
    client.must("PostAnnotations", annotations=notes)
    listed = client.must("ListAnnotations", per_page=1000).annotations
    assert len(listed) == 4 * FRAMES_PER_VIDEO


def trains(client: Client) -> str:
    client.must("PostModels", models=[r.Model(id="colour", model_type_id="visual-classifier")])
    params = Struct()
    params.update(SMALL)
    wanted = r.ModelVersion(train_info=r.TrainInfo(params=params))
    answer = client.must("PostModelVersions", model_id="colour", model_versions=[wanted])
    version_id = answer.model.model_version.id

    def ended():
        now = client.must("GetModelVersion", model_id="colour", version_id=version_id).model_version
        return now if now.status.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    version = wait_until(ended, seconds=240, what="the training")
    assert version.status.code == codes.MODEL_TRAINED, version.status
    assert version.metrics.summary.top1_accuracy > 0.95
    return version_id


def evaluation_names_the_frames(client: Client, version_id: str) -> None:
    """What the training kept back, about a fifth, are frames."""
    fields = r.FieldsValue(test_set=True)
    kept = client.must("GetModelVersionMetrics", model_id="colour", version_id=version_id, fields=fields)
    entries = kept.model_version.metrics.test_set
    assert 0.1 * 4 * FRAMES_PER_VIDEO < len(entries) < 0.35 * 4 * FRAMES_PER_VIDEO
    for entry in entries:
        [frame] = entry.input.data.frames
        name = order(int(entry.input.id.removeprefix("film")))[(frame.frame_info.time - 100) * FPS // 1000]
        assert [concept.id for concept in entry.ground_truth_concepts] == [name]
        assert entry.input.data.video.video_info.frame_count == FRAMES_PER_VIDEO


def predicted(client: Client, *videos: bytes, model: r.Model | None = None):
    inputs = [r.Input(data=r.Data(video=r.Video(base64=video))) for video in videos]

    def answered():
        answer = client.ask("PostModelOutputs", model_id="colour", inputs=inputs, model=model)
        return answer if answer.status.code != codes.MODEL_LOADING else None

    return wait_until(answered, what="loading the model")


def tells_each_frame(client: Client, video: bytes, names: list[str]) -> None:
    """The app's sample_ms is 500: two frames each."""
    answer = predicted(client, video)
    assert answer.status.code == codes.SUCCESS, answer.status
    frames = answer.outputs[0].data.frames
    assert [frame.data.concepts[0].id for frame in frames] == names
    assert [frame.frame_info.time for frame in frames] == [250, 750, 1250, 1750]
    assert [frame.frame_info.index for frame in frames] == [0, 1, 2, 3]
    assert all(len(frame.data.concepts) == 3 and frame.data.concepts[0].app_id for frame in frames)


def chooses(client: Client, video: bytes) -> None:
    """Choices hold for each frame; frames in which nothing is left do not come."""
    model = r.Model()
    model.model_version.output_info.output_config.CopyFrom(
        r.OutputConfig(max_concepts=1, min_value=0.5, sample_ms=1000)
    )
    model.model_version.output_info.output_config.select_concepts.add(id="green")
    [output] = predicted(client, video, model=model).outputs
    assert [(frame.frame_info.time, frame.data.concepts[0].id) for frame in output.data.frames] == [(500, "green")]


def by_id_and_beside_pictures(client: Client) -> None:
    inputs = [r.Input(id="film1"), r.Input(data=r.Data(video=r.Video(base64=b"no film"))), r.Input(id="film2")]
    answer = client.ask("PostModelOutputs", model_id="colour", inputs=inputs)
    assert answer.status.code == codes.MIXED_STATUS
    first, bad, second = answer.outputs
    assert len(first.data.frames) == len(second.data.frames) == 15
    assert bad.status.code == codes.INPUT_DOWNLOAD_FAILED
    assert "not a video that can be read" in bad.status.details


def refuses(client: Client) -> None:
    model = r.Model()
    model.model_version.output_info.params.update({"sample_ms": -1})
    refused = predicted(client, shown(["red"], 1), model=model)
    assert refused.status.code == codes.MODEL_INVALID_ARGUMENT or "sample_ms" in refused.status.details
    model.model_version.output_info.params.update({"sample_ms": 1})
    too_many = predicted(client, shown(["red"] * 30, 1), model=model)
    assert "Raise sample_ms to 3 or more" in too_many.status.details


def with_the_python_package(server, app_id: str, version_id: str, folder, video: bytes) -> None:
    path = folder / "seen.mp4"
    path.write_bytes(video)
    model = Model(
        model_id="colour",
        model_version={"id": version_id},
        user_id="lehr",
        app_id=app_id,
        base_url=server.base,
        pat=TOKEN,
    )
    answer = model.predict_by_filepath(str(path), input_type="video", output_config={"sample_ms": 500})
    found = [frame.data.concepts[0].id for frame in answer.outputs[0].data.frames]
    assert found == ["red", "green", "blue", "red"]
