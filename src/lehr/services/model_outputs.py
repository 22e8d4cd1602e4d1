"""Predictions with a model of any type: trained ones directly, all others as a workflow of one node."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.errors import InvalidPrediction
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.services.clusterer_form import CLUSTERER
from lehr.services.located import located
from lehr.services.operator_types import is_operator
from lehr.services.predict import Predict
from lehr.services.workflow_runs import WRITER, WorkflowRuns, overall
from lehr.store import models as model_rows
from lehr.store.db import Database

NODE = "model"


@dataclass(frozen=True, kw_only=True)
class ModelOutputs:
    """Needs the store, predictions and runs of workflows."""

    db: Database
    predict: Predict
    runs: WorkflowRuns

    def outputs(self, ref: AppRef, request: service_pb2.PostModelOutputsRequest) -> service_pb2.MultiOutputResponse:
        """One output per input, in order. Raises as `Predict.outputs` and `WorkflowRuns.run` do."""
        with self.db.read() as tx:
            home, model_id = located(tx, ref, request.model_id)
            model = model_rows.get(tx, home, model_id)
        if model is None or not (is_operator(model.model_type_id) or model.model_type_id == CLUSTERER):
            return self.predict.outputs(ref, request)
        if model.model_type_id == WRITER:
            raise InvalidPrediction("An annotation-writer writes what other nodes give it: put it into a workflow.")
        return self._as_workflow(ref, model, request)

    def _as_workflow(
        self, ref: AppRef, model: resources_pb2.Model, request: service_pb2.PostModelOutputsRequest
    ) -> service_pb2.MultiOutputResponse:
        node = resources_pb2.WorkflowNode(id=NODE)
        node.model.id, node.model.user_id, node.model.app_id = model.id, model.user_id, model.app_id
        node.model.model_version.id = request.version_id
        asked = request.model
        node.output_info_override.MergeFrom(asked.output_info)
        node.output_info_override.MergeFrom(asked.model_version.output_info)
        results = self.runs.of_node(ref, node, request.inputs, asked.model_version.output_info.output_config)
        answer = service_pb2.MultiOutputResponse()
        for result in results:
            output = result.outputs[0] if result.outputs else resources_pb2.Output(id=result.id)
            output.created_at.CopyFrom(result.created_at)
            output.status.CopyFrom(result.status)
            output.input.CopyFrom(result.input)
            answer.outputs.append(output)
        answer.status.CopyFrom(overall(results))
        return answer
