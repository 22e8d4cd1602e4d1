"""The seeds' own commands, word for word but for the address and the key, and old clients' bytes.

The one that patches a base workflow is in test_reindex_story.py. For embedders the seeds name templates and show no
command: here it has the form of the other two.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import grpc
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from faces import GRPC, Client
from lehr_server import TOKEN

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")

CREATE_VISUAL_CLASSIFIER = """\
curl -X POST 'https://api.clarifai.com/v2/models' \\
    -H 'Authorization: Key YOUR_API_KEY' \\
    -H 'Content-Type: application/json' \\
    --data-raw '{
        "model": {
            "id": "lawrence-1591638385",
            "model_type_id": "visual-classifier",
            "train_info": {
                "params": {
                    "template": "classification_cifar10_v1",
                    "num_epochs": 2
                }
            },
            "output_info": {
                "data": {
                    "concepts": [
                        {"id":"ferrari23"},
                        {"id":"outdoors23"}
                    ]
                },
                "output_config": {
                  "closed_environment" : true
                }
            }
        }
    }'
"""

CREATE_VISUAL_DETECTOR = """\
curl -X POST 'https://api.clarifai.com/v2/models' \\
    -H 'Authorization: Key YOUR_API_KEY' \\
    -H 'Content-Type: application/json' \\
    --data-raw '{
        "model": {
            "id": "detection-test-1591638385",
            "model_type_id": "visual-detector",
            "train_info": {
                "params": {
                    "template": "Clarifai-InceptionV2",
                    "num_epochs": 2
                }
            },
            "output_info": {
                "data": {
                    "concepts": [
                        {"id":"ferrari23"},
                        {"id":"outdoors23"}
                    ]
                },
                "output_config": {
                  "closed_environment" : true
                }
            }
        }
    }'
"""

LIST_MODEL_TYPES = """\
curl -X GET 'https://api.clarifai.com/v2/models/types?per_page=200&page=1' \\
    -H 'Authorization: Key YOUR_API_KEY'
"""

# PostModelsRequest(models=[Model(id="old-model", train_info=…, output_info=… closed_environment=true)]) of
# clarifai-grpc 9.5.0, and PostModelVersionsRequest(train_search=…, test_search=…) of 9.2.0, as those wheels wrote them.
POST_MODELS_9_5_0 = (
    "0a0b0a046c65687212036f6c641a87010a096f6c642d6d6f64656c2a210a1b1a0b0a096665727261726932331a0c0a0a6f7574646f6f7273"
    "3233120210016a440a420a170a0a6e756d5f65706f63687312091100000000000000400a270a0874656d706c617465121b1a19636c617373"
    "696669636174696f6e5f636966617231305f7631721176697375616c2d636c6173736966696572"
)
POST_MODEL_VERSIONS_9_2_0 = (
    "0a0b0a046c65687212036f6c6412096f6c642d6d6f64656c2a1a0a181a1622146a120a100a0573706c697412071a05747261696e32190a17"
    "1a1522136a110a0f0a0573706c697412061a0474657374"
)


@pytest.fixture(scope="module")
def app_key(server) -> str:
    """A key of one app: what the seeds' app-less routes need."""
    me = Client(GRPC, server.base, TOKEN)
    me.must("PostApps", apps=[r.App(id="seeds")])
    [key] = me.must("PostKeys", keys=[r.Key(description="seeds", scopes=["All"], apps=[r.App(id="seeds")])]).keys
    return key.id


def run(command: str, base: str, key: str) -> dict:
    command = command.replace("https://api.clarifai.com", base).replace("YOUR_API_KEY", key)
    done = subprocess.run(["sh", "-c", f"{command.strip()} -sS"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@needs_curl
def test_the_seeds_create_visual_classifier_is_kept_whole(server, app_key):
    created = run(CREATE_VISUAL_CLASSIFIER, server.base, app_key)
    assert created["status"]["code"] == 10000

    read = run(f"curl '{server.base}/v2/models/lawrence-1591638385' -H 'Authorization: Key YOUR_API_KEY'", "", app_key)
    model = read["model"]
    for place in (model, model["model_version"]):
        assert place["train_info"]["params"] == {"template": "classification_cifar10_v1", "num_epochs": 2}
        assert [concept["id"] for concept in place["output_info"]["data"]["concepts"]] == ["ferrari23", "outdoors23"]
        assert place["output_info"]["output_config"]["closed_environment"] is True
    assert model["model_version"]["status"]["code"] == 21102

    concepts = run(f"curl '{server.base}/v2/concepts' -H 'Authorization: Key YOUR_API_KEY'", "", app_key)["concepts"]
    assert {"ferrari23", "outdoors23"} <= {concept["id"] for concept in concepts}


@needs_curl
def test_the_seeds_create_visual_detector_is_kept_whole_and_can_be_trained(server, app_key):
    created = run(CREATE_VISUAL_DETECTOR, server.base, app_key)
    assert created["status"]["code"] == 10000, created["status"]
    assert created["model"]["model_type_id"] == "visual-detector"
    assert created["model"]["train_info"]["params"] == {"template": "Clarifai-InceptionV2", "num_epochs": 2}
    assert created["model"]["output_info"]["output_config"]["closed_environment"] is True

    start = f"curl -X POST '{server.base}/v2/models/detection-test-1591638385/versions' "
    queued = run(
        start + "-H 'Authorization: Key YOUR_API_KEY' -H 'Content-Type: application/json' -d '{}'", "", app_key
    )
    assert queued["model"]["model_version"]["status"]["code"] == 21103, queued


@needs_curl
@pytest.mark.parametrize(
    "template", ["Clarifai_ResNet_AngularMargin", "Clarifai_InceptionBatchNorm", "Clarifai_ResNext"]
)
def test_the_seeds_embedders_are_made_in_the_same_way(server, app_key, template):
    command = CREATE_VISUAL_DETECTOR.replace("visual-detector", "visual-embedder").replace(
        "Clarifai-InceptionV2", template
    )
    name = f"embedder-{template.lower().replace('_', '-')}"
    created = run(command.replace("detection-test-1591638385", name), server.base, app_key)
    assert created["status"]["code"] == 10000, created["status"]
    assert created["model"]["model_type_id"] == "visual-embedder"
    read = run(f"curl '{server.base}/v2/models/{name}' -H 'Authorization: Key YOUR_API_KEY'", "", app_key)["model"]
    assert read["train_info"]["params"] == {"template": template, "num_epochs": 2}
    assert read["model_version"]["status"]["code"] == 21102


@needs_curl
def test_the_seeds_list_model_types_names_the_template_and_its_fields(server, app_key):
    listed = run(LIST_MODEL_TYPES, server.base, app_key)
    assert listed["status"]["code"] == 10000
    [detector] = [kind for kind in listed["model_types"] if kind["id"] == "visual-detector"]
    assert detector["output_fields"][0] == "regions[...].region_info.bounding_box"
    params = [f["path"] for f in detector["model_type_fields"] if f["path"].startswith("output_info.params.")]
    assert params[-1] == "output_info.params.detection_threshold"
    [classifier] = [kind for kind in listed["model_types"] if kind["id"] == "visual-classifier"]
    assert classifier["input_fields"] == ["image"]
    [template] = [f for f in classifier["model_type_fields"] if f["path"] == "train_info.params.template"]
    assert template["field_type"] == 14
    assert "classification_cifar10_v1" in {option["id"] for option in template["model_type_enum_options"]}


def test_bytes_of_the_clients_of_the_seeds_time_are_read_whole(server):
    Client(GRPC, server.base, TOKEN).must("PostApps", apps=[r.App(id="old")])
    channel = grpc.insecure_channel(server.base.removeprefix("http://"))
    key = (("authorization", f"Key {TOKEN}"),)

    def send(rpc: str, wire: str) -> bytes:
        return channel.unary_unary(f"/clarifai.api.V2/{rpc}")(bytes.fromhex(wire), metadata=key)

    from lehr.protocol import service_pb2

    made = service_pb2.SingleModelResponse.FromString(send("PostModels", POST_MODELS_9_5_0))
    assert made.status.code == 10000, made.status
    assert made.model.train_info.params["template"] == "classification_cifar10_v1"
    assert made.model.output_info.output_config.closed_environment

    queued = service_pb2.SingleModelResponse.FromString(send("PostModelVersions", POST_MODEL_VERSIONS_9_2_0))
    assert queued.status.code == 10000, queued.status
    assert queued.model.model_version.status.code == 21103
    assert queued.model.model_version.train_info.params["num_epochs"] == 2
