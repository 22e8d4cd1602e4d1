"""Searches over pictures that a real embedder saw: ranks, scores, filters with ranks, and searches that are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from index_shop import COLOURS, plain, two_halves
from safetensors.numpy import save_file
from small_embedder import publish

from lehr.errors import Duplicate, InvalidRequest, InvalidSearch, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.structs import to_struct
from lehr.services.bulk_operations import KIND as BULK
from lehr.services.bulk_operations import BulkOperations
from lehr.services.bulk_running import BulkRunning
from lehr.services.inputs import Upload
from lehr.services.paging import Paging
from lehr.services.ranks import Ranks
from lehr.services.saved_searches import SavedSearches
from lehr.services.searches import Searches
from lehr.store.times import micros, now, timestamp
from lehr.store.versions import ModelVersionRef

Annotation, Data, Concept = resources_pb2.Annotation, resources_pb2.Data, resources_pb2.Concept
FIRST = Paging(1, 100)


@pytest.fixture
def searches(shop, blobs) -> Searches:
    return Searches(
        db=shop.db, neighbours=shop.neighbours, ranks=Ranks(neighbours=shop.neighbours, blobs=blobs, fetcher=None)
    )


@pytest.fixture
def saved(shop, searches) -> SavedSearches:
    return SavedSearches(db=shop.db, searches=searches)


@pytest.fixture
def colours(shop):
    """One input of each colour; red and blue are labelled, red is in Paris."""
    inputs = [
        resources_pb2.Input(id=name, data=Data(image=resources_pb2.Image(base64=plain(colour))))
        for name, colour in COLOURS.items()
    ]
    inputs[0].data.concepts.add(id="warm", value=1)
    inputs[2].data.concepts.add(id="cold", value=1)
    inputs[0].data.geo.geo_point.latitude, inputs[0].data.geo.geo_point.longitude = 48.85, 2.35
    inputs[1].data.metadata.CopyFrom(to_struct({"row": 1}))
    shop.inputs.post(shop.ref, shop.ref.user_id, Upload(inputs=inputs))
    shop.work()
    return shop


def search(*ranks, filters=(), **more) -> resources_pb2.Search:
    return resources_pb2.Search(query=resources_pb2.Query(ranks=list(ranks), filters=list(filters)), **more)


def like(picture: bytes, negate=False) -> resources_pb2.Rank:
    return resources_pb2.Rank(
        annotation=Annotation(data=Data(image=resources_pb2.Image(base64=picture))), negate=negate
    )


def like_input(input_id: str, negate=False, **more) -> resources_pb2.Rank:
    return resources_pb2.Rank(annotation=Annotation(input_id=input_id, **more), negate=negate)


def like_concept(value=1, **named) -> resources_pb2.Rank:
    return resources_pb2.Rank(annotation=Annotation(data=Data(concepts=[Concept(value=value, **named)])))


def labelled(concept_id: str, negate=False) -> resources_pb2.Filter:
    data = Data(concepts=[Concept(id=concept_id, value=1)])
    return resources_pb2.Filter(annotation=Annotation(data=data), negate=negate)


def box(top: float, left: float, bottom: float, right: float) -> resources_pb2.Region:
    found = resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    return resources_pb2.Region(region_info=resources_pb2.RegionInfo(bounding_box=found))


def ids(hits) -> list[str]:
    return [hit.input.id for hit in hits]


def test_the_likest_come_first_with_the_documented_scores(colours, searches):
    hits = searches.run(colours.ref, search(like(plain(COLOURS["blue"], seed=5))), FIRST, "inputs")
    assert hits[0].input.id == "blue"
    assert len(hits) == 4
    assert hits[0].score == pytest.approx(1, abs=0.01)
    [query, *others] = colours.neighbours.embed(
        colours.ref, [plain(COLOURS["blue"], seed=5), *map(plain, COLOURS.values())]
    )
    expected = {name: (1 + float(query @ vector)) / 2 for name, vector in zip(COLOURS, others, strict=True)}
    assert {hit.input.id: hit.score for hit in hits} == pytest.approx(expected, abs=0.01)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    by_cosine = searches.run(colours.ref, search(like(plain(COLOURS["blue"], seed=5)), metric=2), FIRST, "inputs")
    assert [(hit.input.id, hit.score) for hit in by_cosine] == [(hit.input.id, hit.score) for hit in hits]


def test_pages_of_ranks_and_of_filters_join_without_gap(colours, searches):
    for asked in (search(like_input("red")), search()):
        everything = ids(searches.run(colours.ref, asked, FIRST, "inputs"))
        pages = [ids(searches.run(colours.ref, asked, Paging(page, 2), "inputs")) for page in (1, 2, 3)]
        assert pages == [everything[:2], everything[2:], []]
        assert searches.count(colours.ref, asked, "inputs") == 4


def test_ranks_are_of_inputs_vectors_concepts_and_crops_alike(colours, searches, shop):
    shop.add(flag=two_halves(COLOURS["red"], COLOURS["blue"]))
    shop.work()
    [vector] = shop.neighbours.embed(shop.ref, [plain(COLOURS["green"])])
    embedding = resources_pb2.Embedding(vector=(vector * 3).tolist(), num_dimensions=len(vector))
    wanted = {
        "red": like_input("red"),
        "green": resources_pb2.Rank(annotation=Annotation(data=Data(embeddings=[embedding]))),
        "blue": like_input("flag", data=Data(regions=[box(0, 0.5, 1, 1)])),
    }
    for name, rank in wanted.items():
        assert ids(searches.run(shop.ref, search(rank), FIRST, "inputs"))[0] == name
    assert ids(searches.run(shop.ref, search(like_concept(name="warm")), FIRST, "inputs"))[0] == "red"
    assert ids(searches.run(shop.ref, search(like_concept(id="warm", value=0)), FIRST, "inputs"))[-1] == "red"


def test_a_concept_that_nobody_labelled_is_what_a_classifier_on_these_vectors_looks_for(
    colours, searches, tmp_path, embedder_folder
):
    shop = colours
    vectors = shop.neighbours.embed(shop.ref, [plain(colour) for colour in COLOURS.values()])
    weights = {"grass": vectors[1] - vectors[2], "snow": vectors[3], "warm": -vectors[0]}
    head = write_head(tmp_path / "head", weights, "softmax", embedder_folder)
    publish(
        shop.db, shop.bundles, head, ModelVersionRef(shop.ref, "kinds", "v1"), "embedding-classifier", concepts=weights
    )
    with pytest.raises(InvalidSearch, match="nothing is known"):  # it does not say that it is on the app's embedder
        searches.run(shop.ref, search(like_concept(id="grass")), FIRST, "inputs")
    on_ours = ModelVersionRef(shop.ref, "kinds", "v2")
    publish(shop.db, shop.bundles, head, on_ours, "embedding-classifier", base="colours", concepts=weights)

    stack = np.stack(list(weights.values()))
    for row, name in enumerate(("grass", "snow")):
        direction = stack[row] - stack.mean(axis=0)
        expected = (1 + vectors @ direction / np.linalg.norm(direction)) / 2
        hits = searches.run(shop.ref, search(like_concept(id=name)), FIRST, "inputs")
        by_hand = dict(zip(COLOURS, expected.tolist(), strict=True))
        assert {hit.input.id: hit.score for hit in hits} == pytest.approx(by_hand, abs=0.01)
        assert ids(hits) == sorted(by_hand, key=lambda each: -by_hand[each])
    assert ids(searches.run(shop.ref, search(like_concept(id="warm")), FIRST, "inputs"))[0] == "red"  # labels go first


def write_head(folder, weights, activation, embedder_folder):
    """A folder as an embedding-classifier's, without the embedder in it."""
    sheet = json.loads((embedder_folder / "model.json").read_text())
    sheet |= {"net": {"name": "embedding_classifier", "arguments": {}}, "activation": activation}
    sheet |= {"concepts": list(weights), "output": "probabilities"}
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(sheet))
    stack = np.stack(list(weights.values()))
    tensors = {"head.weight": stack, "head.bias": np.zeros(len(stack), np.float32)}
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_negated_and_several_ranks_count_alike(colours, searches):
    ref = colours.ref
    scores = {}
    for name in ("red", "green"):
        hits = searches.run(ref, search(like_input(name)), FIRST, "inputs")
        scores[name] = {hit.input.id: hit.score for hit in hits}
    both = searches.run(ref, search(like_input("red"), like_input("green", negate=True)), FIRST, "inputs")
    expected = {name: (scores["red"][name] + 1 - scores["green"][name]) / 2 for name in COLOURS}
    assert {hit.input.id: hit.score for hit in both} == pytest.approx(expected, abs=0.01)
    assert both[0].input.id == "red"
    with pytest.raises(InvalidSearch, match="cancel each other out"):
        searches.run(ref, search(like_input("red"), like_input("red", negate=True)), FIRST, "inputs")


def test_filters_come_before_ranks_and_min_value_after_them(colours, searches):
    rank = like(plain(COLOURS["red"], seed=3))
    hits = searches.run(colours.ref, search(rank, filters=[labelled("warm", negate=True)]), Paging(1, 1), "inputs")
    assert ids(hits) != ["red"]
    assert ids(searches.run(colours.ref, search(rank, filters=[labelled("cold")]), Paging(1, 1), "inputs")) == ["blue"]
    assert ids(searches.run(colours.ref, search(rank, min_value=0.98), FIRST, "inputs")) == ["red"]
    assert searches.count(colours.ref, search(rank, min_value=0.98), "inputs") == 1


def test_filters_alone_find_in_order_of_upload_with_the_score_one(colours, searches):
    hits = searches.run(colours.ref, search(filters=[labelled("none", negate=True)]), FIRST, "inputs")
    assert [(hit.input.id, hit.score) for hit in hits] == [(name, 1.0) for name in COLOURS]
    empty = [resources_pb2.Filter(annotation=Annotation(), input=resources_pb2.Input())]
    tolerated = search(resources_pb2.Rank(annotation=Annotation()), filters=empty)
    assert ids(searches.run(colours.ref, tolerated, FIRST, "inputs")) == list(COLOURS)


def test_annotations_are_found_by_their_own_part_of_the_picture(colours, searches, shop):
    shop.add(flag=two_halves(COLOURS["red"], COLOURS["blue"]))
    shop.work()
    halves = [("left", box(0, 0, 1, 0.5)), ("right", box(0, 0.5, 1, 1))]
    notes = [Annotation(id=name, input_id="flag", data=Data(regions=[region])) for name, region in halves]
    for note in notes:
        note.data.regions[0].data.concepts.add(id="half", value=1)
    shop.annotations.post(shop.ref, shop.ref.user_id, notes)
    shop.watch.once()
    shop.work()
    rank = like(plain(COLOURS["blue"], seed=1))
    hits = searches.run(shop.ref, search(rank), FIRST, "annotations")
    assert {(hit.input.id, hit.annotation.id) for hit in hits[:2]} >= {("flag", "right")}
    assert hits[0].score > 0.98
    assert len(hits) == 7  # two halves, and five whole inputs
    halves_only = searches.run(shop.ref, search(rank, filters=[labelled("half")]), FIRST, "annotations")
    assert [hit.annotation.id for hit in halves_only] == ["right", "left"]
    assert halves_only[0].annotation.data.regions[0].region_info.bounding_box.left_col == 0.5
    two = search(filters=[labelled("half"), labelled("warm")])
    assert searches.run(shop.ref, two, FIRST, "annotations") == []
    cold = searches.run(shop.ref, search(rank, filters=[labelled("cold")]), FIRST, "annotations")
    assert [(hit.input.id, hit.annotation.data.concepts[0].id) for hit in cold] == [("blue", "cold")]


def test_older_queries_find_by_input_and_rank_by_output(colours, searches):
    ands = [
        resources_pb2.And(input=resources_pb2.Input(data=Data(concepts=[Concept(id="warm", value=1)])), negate=True),
        resources_pb2.And(
            output=resources_pb2.Output(
                input=resources_pb2.Input(data=Data(image=resources_pb2.Image(base64=plain(COLOURS["blue"], seed=2))))
            )
        ),
    ]
    asked = resources_pb2.Search(query=resources_pb2.Query(ands=ands))
    found = ids(searches.run(colours.ref, asked, FIRST, "inputs"))
    assert found[0] == "blue"
    assert sorted(found) == ["blue", "green", "white"]


WRONG = {
    "has 3 dimensions": search(
        resources_pb2.Rank(annotation=Annotation(data=Data(embeddings=[{"vector": [1, 2, 3]}])))
    ),
    "not all of them zero": search(resources_pb2.Rank(annotation=Annotation(data=Data(embeddings=[{"vector": [0]}])))),
    "no input 'none'": search(like_input("none")),
    "'unknown' looks: .* train an embedding-classifier": search(like_concept(id="unknown")),
    "data.text cannot be ranked by": search(
        resources_pb2.Rank(annotation=Annotation(data=Data(text=resources_pb2.Text(raw="x"))))
    ),
    "asks for nothing": search(resources_pb2.Rank(negate=True)),
    "algorithm is 'magic'": search(algorithm="magic"),
    "min_value is 2": search(min_value=2),
    "metric is 7": search(metric=7),
    "geo_limit.type is 'near'": search(
        filters=[{"annotation": {"data": {"geo": {"geo_point": {"latitude": 1}, "geo_limit": {"type": "near"}}}}}]
    ),
    "latitude is 91": search(
        filters=[{"input": {"data": {"geo": {"geo_box": [{"geo_point": {"latitude": 91}}, {"geo_point": {}}]}}}}]
    ),
    "needs two corners": search(filters=[{"input": {"data": {"geo": {"geo_box": [{"geo_point": {}}]}}}}]),
    "neither": search(filters=[{"annotation": {"data": {"concepts": [{"value": 1}]}}}]),
    "embeddings cannot be filtered by": search(filters=[{"annotation": {"data": {"embeddings": [{"vector": [1]}]}}}]),
}


def test_what_cannot_be_searched_is_refused_with_a_sentence(colours, searches):
    for sentence, wrong in WRONG.items():
        with pytest.raises(InvalidSearch, match=sentence):
            searches.run(colours.ref, wrong, FIRST, "inputs")


def test_an_app_that_embeds_nothing_says_so_and_still_filters(bare_shop, blobs):
    ranks = Ranks(neighbours=bare_shop.neighbours, blobs=blobs, fetcher=None)
    searches = Searches(db=bare_shop.db, neighbours=bare_shop.neighbours, ranks=ranks)
    bare_shop.add(red=plain(COLOURS["red"]))
    bare_shop.work()
    assert ids(searches.run(bare_shop.ref, search(), FIRST, "inputs")) == ["red"]
    with pytest.raises(InvalidSearch, match="default_workflow"):
        searches.run(bare_shop.ref, search(like_input("red")), FIRST, "inputs")


def test_a_saved_search_is_run_changed_and_deleted(colours, searches, saved, other_ref):
    ref = colours.ref
    [made] = saved.save(ref, [search(filters=[labelled("warm")], id="mine", name="Warm ones", save=True)], "inputs")
    assert (made.id, made.application_id, made.save) == ("mine", ref.app_id, False)
    assert made.HasField("created_at")
    assert ids(saved.run(ref, "mine", FIRST)) == ["red"]
    with pytest.raises(Duplicate, match="'mine'"):
        saved.save(ref, [search(id="mine")], "inputs")
    with pytest.raises(InvalidSearch, match="'magic'"):
        saved.save(ref, [search(id="other", algorithm="magic")], "inputs")
    for of_stranger in (saved.get, saved.delete, lambda app, name: saved.run(app, name, FIRST)):
        with pytest.raises(NotFound, match="'mine'"):
            of_stranger(other_ref, "mine")
    change = search(filters=[labelled("cold")], id="mine")
    with pytest.raises(NotFound, match="PatchSearches"):
        saved.patch(ref, [change], "overwrite", "annotations")
    with pytest.raises(InvalidRequest, match="'add'"):
        saved.patch(ref, [change], "add")
    [changed] = saved.patch(ref, [change], "", "inputs")
    assert (changed.name, changed.created_at) == ("Warm ones", made.created_at)
    assert ids(saved.run(ref, "mine", FIRST)) == ["blue"]
    saved.save(ref, [search(filters=[labelled("cold")], id="notes")], "annotations")
    [hit] = saved.run(ref, "notes", FIRST)
    assert hit.annotation.data.concepts[0].id == "cold"
    assert [each.id for each in saved.list_of(ref, FIRST)] == ["notes", "mine"]
    saved.delete(ref, "mine")
    with pytest.raises(NotFound):
        saved.delete(ref, "mine")


def test_as_of_leaves_out_what_was_made_later(colours, searches, shop):
    before = now()
    shop.add(late=plain(COLOURS["red"], seed=7))
    shop.work()
    assert ids(searches.run(shop.ref, search(as_of=before), FIRST, "inputs")) == list(COLOURS)
    ranked = searches.run(shop.ref, search(like_input("red"), as_of=before), FIRST, "inputs")
    assert "late" not in ids(ranked)
    later = timestamp(micros(now()) + 5_000_000)
    assert "late" in ids(searches.run(shop.ref, search(as_of=later), FIRST, "inputs"))


def test_a_page_is_the_same_while_others_upload(colours, searches, shop):
    first = ids(searches.run(shop.ref, search(), Paging(1, 2), "inputs"))
    shop.add(**{f"new{n}": plain(COLOURS["white"], seed=n) for n in range(3)})
    assert ids(searches.run(shop.ref, search(), Paging(1, 2), "inputs")) == first
    assert ids(searches.run(shop.ref, search(), Paging(2, 2), "inputs")) == ["blue", "white"]


def test_a_selective_filter_loses_no_neighbour(colours, searches, shop):
    dice = np.random.default_rng(0)
    for some in range(2):
        upload = []
        for n in range(40):
            picture = plain(tuple(dice.integers(0, 256, 3)), seed=n)
            item = resources_pb2.Input(id=f"r{some}-{n}", data=Data(image=resources_pb2.Image(base64=picture)))
            item.data.metadata.CopyFrom(to_struct({"nth": n % 20}))
            upload.append(item)
        shop.inputs.post(shop.ref, shop.ref.user_id, Upload(inputs=upload))
    shop.work()
    chosen = resources_pb2.Filter(annotation=Annotation(data=Data(metadata=to_struct({"nth": 7}))))
    hits = searches.run(shop.ref, search(like_input("white"), filters=[chosen]), Paging(1, 10), "inputs")
    assert sorted(ids(hits)) == ["r0-27", "r0-7", "r1-27", "r1-7"]


def test_an_operation_on_what_looks_alike_needs_a_least_score_and_finds_when_it_is_asked_for(colours, searches):
    ref, bulk = colours.ref, BulkOperations(db=colours.db, queue=colours.queue, searches=searches)
    adding = resources_pb2.Operation(add_concepts=resources_pb2.AddConcepts(concepts=[Concept(id="near", value=1)]))
    ranked = search(like(plain(COLOURS["blue"], seed=5)))
    with pytest.raises(InvalidRequest, match="min_value"):
        bulk.post(ref, ref.user_id, [resources_pb2.BulkOperation(search=ranked, operation=adding)])
    ranked.min_value = 0.99
    [asked] = bulk.post(ref, ref.user_id, [resources_pb2.BulkOperation(search=ranked, operation=adding)])
    running = BulkRunning(db=colours.db, queue=colours.queue)
    job = colours.queue.claim("worker", kinds=[BULK])
    running.run(job)
    assert bulk.get(ref, asked.id).progress.processed == 1
    assert ids(searches.run(ref, search(filters=[labelled("near")]), FIRST, "inputs")) == ["blue"]
