"""A trained embedder for tests, in seconds: a real OpenVINO network in a real bundle, published like a training's.

It sees the mean colours of a grid of squares, so that pictures of one colour lie together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lehr.learn.bundle import FORMAT
from lehr.learn.preprocessing import Preprocessing
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services.bundles import Bundles
from lehr.store import apps as app_rows
from lehr.store import bundles as bundle_rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store import workflows as workflow_rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

SIDE = 16


def write_embedder(folder: Path, *, squares: int = 4, turn: int = 0) -> Path:
    """The bundle's folder; `turn` makes another embedder: the same sight, seen from another angle, and squared."""
    import openvino as ov
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, SIDE, SIDE, 3], np.uint8, name="pixels")
    values = ops.subtract(ops.divide(ops.convert(pixels, "f32"), np.float32(255)), np.float32(0.5))
    planes = ops.transpose(values, np.array([0, 3, 1, 2], np.int32))
    step = SIDE // squares
    pooled = ops.avg_pool(planes, [step, step], [0, 0], [0, 0], [step, step], False)
    flat = ops.reshape(pooled, np.array([0, -1], np.int64), True)
    size = squares * squares * 3
    if turn:
        matrix = np.linalg.qr(np.random.default_rng(turn).normal(size=(size, size)))[0].astype(np.float32)
        flat = ops.relu(ops.matmul(flat, matrix, False, False))
    folder.mkdir(parents=True)
    ov.save_model(ov.Model([flat], [pixels]), folder / "openvino.xml", compress_to_fp16=False)
    (folder / "model.json").write_text(json.dumps(_sheet()))
    return folder


def _sheet() -> dict:
    return {
        "format": FORMAT,
        "template": "test",
        "form": {},
        "concepts": [],
        "preprocessing": Preprocessing(image_size=SIDE, side=SIDE).to_json(),
        "thresholds": {},
        "metrics": {},
        "serving": {"form": "openvino", "precision": "f32", "difference": {}},
        "output": "embedding",
        "activation": "none",
    }


def publish(
    db: Database,
    bundles: Bundles,
    folder: Path,
    vref: ModelVersionRef,
    model_type_id: str = "visual-embedder",
    *,
    base: str = "",
    concepts: Iterable[str] = (),
) -> ModelVersionRef:
    """A model of that name with the folder as its trained version."""
    sha, size = bundles.pack(folder)
    version = resources_pb2.ModelVersion(id=vref.version_id, status=status(status_code_pb2.MODEL_TRAINED))
    version.output_info.data.concepts.extend(resources_pb2.Concept(id=concept_id) for concept_id in concepts)
    if base:
        version.train_info.params.update({"base_embed_model": base})
    with db.write() as tx:
        if model_rows.get(tx, vref.app, vref.model_id) is None:
            model = resources_pb2.Model(id=vref.model_id, name=vref.model_id, model_type_id=model_type_id)
            model_rows.insert(tx, vref.app, [model])
        version_rows.insert(tx, vref.app, vref.model_id, version)
        bundle_rows.put(tx, vref, bundle_rows.Bundle(sha=sha, size=size))
    return vref


def make_base(db: Database, ref: AppRef, vref: ModelVersionRef, workflow_id: str) -> None:
    """A workflow of that one node, as the app's default."""
    node = resources_pb2.WorkflowNode(id="embed")
    node.model.id, node.model.model_version.id = vref.model_id, vref.version_id
    with db.write() as tx:
        workflow_rows.insert(tx, ref, [resources_pb2.Workflow(id=workflow_id, nodes=[node])])
        app = app_rows.get(tx, ref)
        named = resources_pb2.Workflow(id=workflow_id, user_id=ref.user_id, app_id=ref.app_id)
        app.default_workflow.CopyFrom(named)
        app_rows.update(tx, app)
