"""Every template's training and answers, with all that they compute where a GPU wants it, on a machine without one."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_shapes import CONCEPTS, drawn
from torch import nn

from lehr.hyperparameters import parse
from lehr.learn.bundle import write_bundle
from lehr.learn.checkpoint import load, save
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.packs import Packs
from lehr.learn.device import Device, choose_device
from lehr.learn.evaluate import evaluate
from lehr.learn.events import Stepped
from lehr.learn.folder import read_folder
from lehr.learn.loop import train, trained_net
from lehr.learn.offline import FolderOrder, train_folder
from lehr.learn.precision import Precision
from lehr.learn.probe import Bench, measure
from lehr.learn.recipe import Recipe
from lehr.learn.torch_predictor import load_with_torch
from lehr.templates import CATALOGUE, Template, find

sys.path.insert(0, str(Path(__file__).parent))
from pretended_gpu import GPU, PretendedGpu, place_of, pretended_gpu

SMALL = {
    "image_size": 64,
    "batch_size": 4,
    "num_epochs": 1,
    "num_items_per_epoch": 12,
    "flip_probability": 0.5,
    "width_multiplier": 0.125,
    "embeddings_size": 16,
    "inference_crop_type": "center",
}
COUNTS_OF_NORMS = {"torch.Tensor.__bool__", "torch.Tensor.__int__"}
"""In its first ten batches one norm of a random network is asked how many it has seen."""
CLASSIFIER, DETECTOR = "visual-classifier", "visual-detector"
QUICK = ("classification_cifar10_v1", "embedding_classifier")


@dataclass(frozen=True, kw_only=True)
class Case:
    template: Template
    params: Mapping[str, object] = field(default_factory=dict)
    is_slow: bool = True

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.template.model_type} {self.template.name} {told}".strip()

    def planned(self, digits: Path, packs: Path, device: Device) -> tuple[Recipe, Data]:
        fields = self.template.form.model_fields
        params = {name: value for name, value in {**SMALL, **self.params}.items() if name in fields}
        form = parse(self.template.form, params).form
        items, concepts = drawn(20), list(CONCEPTS)
        if self.template.model_type != DETECTOR:
            items = read_folder(digits)[::40]
            concepts = sorted({concept for item in items for concept in item.positives})
        data = build_data(self.template.data_order(form, concepts), items, packs=Packs(packs))
        return self.template.recipe(form, data.problem(device)), data


CASES = [
    *(Case(template=template, is_slow=template.name not in QUICK) for template in CATALOGUE),
    Case(template=find(CLASSIFIER, "classification_cifar10_v1"), params={"num_epochs": 3}, is_slow=False),
    Case(template=find(CLASSIFIER, "Lehr_Lite"), params={"base_gradient_multiplier": 0.1, "logreg": 0}),
    Case(template=find(DETECTOR, "Lehr_Lite"), params={"use_perclass_regression": True, "use_focal_loss": False}),
    Case(template=find(DETECTOR, "Clarifai_InceptionV4"), params={"gradient_checkpointing": "on"}),
]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    with pretended_gpu(monkeypatch) as found:
        yield found


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case), marks=pytest.mark.slow if case.is_slow else ()) for case in CASES]
)
def test_all_of_a_training_lies_on_the_gpu_and_no_step_waits_for_it(
    case: Case, gpu: PretendedGpu, digits_folder: Path, packs_folder: Path, tmp_path: Path
) -> None:
    recipe, data = case.planned(digits_folder, packs_folder, choose_device("auto", 2))
    states, waited = [], set()
    for event in train(recipe, data):
        if isinstance(event, Stepped):
            waited |= set(gpu.waits) if event.step > 1 else set()
            states += [event.state()] if event.step == 2 else []
        gpu.waits.clear()
    state = load(save(event.state()))
    for event in train(recipe, data, states[0]) if states else ():
        if isinstance(event, Stepped):
            assert event.step == 3
            break
    assert waited <= COUNTS_OF_NORMS
    assert {place_of(tensor) for tensor in trained_net(recipe, data, state).state_dict().values()} == {GPU}

    bundle = write_bundle(recipe, data, state, evaluate(recipe, data, state), tmp_path / "model")
    predictor = load_with_torch(bundle, "cuda", 2)
    assert predictor.form.startswith("torch cuda:0")
    answers = predictor.predict([data.pack.pixels(int(row)) for row in data.rows_N[data.held_indices[:3]]])
    assert all(np.isfinite(answer).all() for answer in answers)
    predictor.give_back()


def test_what_is_measured_beforehand_lies_there_too(
    gpu: PretendedGpu, digits_folder: Path, packs_folder: Path, tmp_path: Path
) -> None:
    case, device = Case(template=find(CLASSIFIER, "classification_cifar10_v1")), choose_device("auto", 2)
    recipe, data = case.planned(digits_folder, packs_folder, device)
    make = partial(case.template.recipe, parse(case.template.form, dict(recipe.form)).form)
    pace = measure(
        Bench(order=data.order, make_recipe=lambda data: make(data.problem(device)), num_items=80, seconds=60)
    )
    assert pace.is_on_gpu
    assert pace.item_bytes > 0
    Precision(folder=tmp_path).decided(recipe, data)
    assert list(tmp_path.iterdir()), "both were measured"


def test_a_folder_is_trained_from_on_the_gpu(gpu: PretendedGpu, digits_folder: Path, tmp_path: Path) -> None:
    template = find(CLASSIFIER, "classification_cifar10_v1")
    form = parse(template.form, {"width_multiplier": 0.125, "num_epochs": 1, "num_items_per_epoch": 64}).form
    said: list[str] = []
    order = FolderOrder(data=digits_folder, out=tmp_path / "model", cache=tmp_path, device="cuda", precision="bf16")
    train_folder(template, form, order, say=said.append)
    assert any("on cuda:0 (" in line for line in said)
    assert [lock.name for lock in (tmp_path / "gpus").iterdir()] == ["pretended.lock"]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda here, there: here + there, id="a sum"),
        pytest.param(lambda here, there: torch.cat([there, here]), id="a list"),
        pytest.param(lambda here, there: here + there.sum(), id="a number of the GPU's"),
        pytest.param(lambda here, there: here[there.long()], id="an index"),
        pytest.param(lambda here, there: nn.functional.linear(there, here[None]), id="a layer"),
        pytest.param(lambda here, there: nn.Linear(3, 3)(there), id="weights"),
        pytest.param(lambda here, there: there.numpy(), id="an array"),
        pytest.param(lambda here, there: np.asarray(there), id="an array in silence"),
        pytest.param(lambda here, there: here.__setitem__(0, there), id="a value"),
    ],
)
def test_the_pretence_refuses_what_a_gpu_refuses(gpu: PretendedGpu, act: Callable[..., object]) -> None:
    here = torch.arange(3.0)
    with pytest.raises((RuntimeError, TypeError), match=r"device|cpu"):
        act(here, here.to("cuda:0"))


def test_the_pretence_knows_where_things_come_to_lie_and_what_waits(gpu: PretendedGpu) -> None:
    net = nn.Linear(3, 2).to("cuda")
    sent = torch.ones(4, 3).pin_memory().to("cuda:0", non_blocking=True)
    loss = net(sent).square().mean() * torch.tensor(2.0)
    gpu.waits.clear()
    loss.backward()
    made = [loss, net.weight.grad, copy.deepcopy(net).bias, sent.argmax(dim=0), torch.zeros(2, device=loss.device)]
    assert {place_of(tensor) for tensor in made} == {GPU}
    assert [sent.to(torch.float64).device, sent.cpu().device] == [GPU, torch.device("cpu")]
    assert gpu.waits == ["cuda:0 to cpu"]
    for wait in (loss.item, sent.nonzero, lambda: sent[sent > 0], lambda: torch.tensor([1], device="cuda")):
        before = len(gpu.waits)
        wait()
        assert len(gpu.waits) == before + 1
