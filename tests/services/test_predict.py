"""Which concepts an answer carries, and in what order."""

import numpy as np
import pytest

from lehr.errors import InvalidPrediction
from lehr.protocol import resources_pb2 as r
from lehr.protocol.structs import to_struct
from lehr.services.telling import Choice, best_concepts, check_selection, chosen

IDS = ("ant", "bee", "cat", "dog")
NAMES = {"cat": "Felis catus"}
VALUES = np.array([0.1, 0.4, 0.4, 0.9], dtype=np.float32)


def picked(**choice):
    return [c.id for c in best_concepts(VALUES, IDS, NAMES, Choice(**choice))]


def test_concepts_come_highest_first_and_ties_in_the_models_order():
    assert picked() == ["dog", "bee", "cat", "ant"]


def test_limits_apply_together():
    assert picked(max_concepts=2) == ["dog", "bee"]
    assert picked(min_value=0.4) == ["dog", "bee", "cat"]
    assert picked(select=frozenset({"ant", "Felis catus"})) == ["cat", "ant"]
    assert picked(select=frozenset({"ant", "cat"}), min_value=0.2) == ["cat"]
    assert picked(min_value=0.95) == []


def model(**params) -> r.Model:
    made = r.Model()
    made.model_version.output_info.params.CopyFrom(to_struct(params))
    return made


def old_style(**config) -> r.Model:
    return r.Model(output_info=r.OutputInfo(output_config=r.OutputConfig(**config)))


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        (model(), model(), Choice()),
        (model(max_concepts=5), model(), Choice(max_concepts=5)),
        (model(max_concepts=5), model(max_concepts=3), Choice(max_concepts=3)),
        (model(), old_style(max_concepts=2, min_value=0.5), Choice(max_concepts=2, min_value=0.5)),
        (model(), old_style(select_concepts=[r.Concept(name="Bee")]), Choice(select=frozenset({"Bee"}))),
        (
            model(select_concepts=None),
            model(select_concepts=["ant", {"id": "bee"}]),
            Choice(select=frozenset({"ant", "bee"})),
        ),
    ],
)
def test_the_requests_wishes_win_wherever_a_client_puts_them(stored, asked, expected):
    assert chosen(stored, asked) == expected


def test_a_selection_of_nothing_the_model_knows_is_refused_and_names_what_it_knows():
    check_selection(Choice(select=frozenset({"Felis catus", "typo"})), IDS, NAMES)
    check_selection(Choice(), IDS, NAMES)
    with pytest.raises(InvalidPrediction, match=r"'typo'.*ant, bee, cat, dog"):
        check_selection(Choice(select=frozenset({"typo"})), IDS, NAMES)


@pytest.mark.parametrize("limit", ["many", -1, float("nan"), float("inf")])
def test_a_limit_that_is_no_number_is_refused(limit):
    with pytest.raises(InvalidPrediction, match="max_concepts"):
        chosen(model(), model(max_concepts=limit))


def test_an_odd_selection_selects_nothing_instead_of_failing():
    assert chosen(model(), model(select_concepts=[{"id": ["ant"]}])).select == {"['ant']"}
