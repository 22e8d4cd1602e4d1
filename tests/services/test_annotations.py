import pytest

from lehr.errors import InvalidAnnotation, InvalidRequest, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.annotations import Annotations, Wanted, paired
from lehr.services.concepts import Concepts
from lehr.services.inputs import Inputs, Upload
from lehr.services.paging import Paging
from lehr.store import concepts as concept_rows
from lehr.store.annotations import AnnotationFilter

Annotation, Data, Concept = resources_pb2.Annotation, resources_pb2.Data, resources_pb2.Concept
Region, RegionInfo, Box, Point = (
    resources_pb2.Region,
    resources_pb2.RegionInfo,
    resources_pb2.BoundingBox,
    resources_pb2.Point,
)
FIRST = Paging(1, 128)
ANA = "ana"


@pytest.fixture
def annotations(db) -> Annotations:
    return Annotations(db=db)


@pytest.fixture
def inputs(db, blobs, queue, ref) -> Inputs:
    """With a, b (labelled rose) and c."""
    service = Inputs(db=db, blobs=blobs, queue=queue)
    texts = [resources_pb2.Input(id=each, data=Data(text=resources_pb2.Text(raw=each))) for each in "abc"]
    texts[1].data.concepts.append(Concept(id="rose", value=1))
    service.post(ref, ANA, Upload(inputs=texts))
    return service


def box(top, left, bottom, right):
    return RegionInfo(bounding_box=Box(top_row=top, left_col=left, bottom_row=bottom, right_col=right))


def note(input_id="a", annotation_id="", *, info=None, concept="petal", **more):
    regions = [Region(region_info=info or box(0.1, 0.2, 0.5, 0.6), data=Data(concepts=[Concept(id=concept, value=1)]))]
    return Annotation(id=annotation_id, input_id=input_id, data=Data(regions=regions), **more)


def ids(found):
    return [each.id for each in found]


def said(data):
    return {concept.id: concept.value for concept in data.concepts}


def test_annotations_are_kept_with_their_ids_info_and_author(annotations, inputs, db, ref):
    order = note("a", "mine", annotation_info=to_struct({"split": "test"}), user_id="eve", task_id="t")
    done = annotations.post(ref, ANA, [order, note("b")])
    assert done.status.code == status_code_pb2.SUCCESS
    stored = annotations.get(ref, "a", "mine")
    assert (stored.user_id, stored.worker.user.id, stored.task_id) == (ANA, ANA, "t")
    assert stored.status.code == status_code_pb2.ANNOTATION_SUCCESS
    assert from_struct(stored.annotation_info) == {"split": "test"}
    assert stored.data.regions[0].region_info.bounding_box.bottom_row == pytest.approx(0.5)
    assert stored.data.regions[0].id
    assert stored.data.regions[0].data.concepts[0].name == "petal"
    assert len(done.annotations[1].id) == 32
    with db.read() as tx:
        assert concept_rows.get(tx, ref, "petal").app_id == "flowers"


REFUSALS = [
    (note("nobody"), "'nobody', which does not exist"),
    (note("a", "there"), "'there' already exists on input 'a'"),
    (note("a", "a/b"), "'a/b' is not usable"),
    (note(info=box(0.5, 0, 0.5, 1)), "top_row 0.5 must be less than bottom_row 0.5"),
    (note(info=box(0, 0.9, 1, 0.1)), "left_col 0.9 must be less than right_col 0.1"),
    (note(info=box(-0.1, 0, 1, 1)), "regions[0].region_info.bounding_box.top_row is -0.1; positions run from 0 to 1"),
    (note(info=box(0, 0, 1, 200)), "right_col is 200"),
    (note(info=box(float("nan"), 0, 1, 1)), "top_row is nan"),
    (note(info=RegionInfo(polygon=resources_pb2.Polygon(points=[Point(row=0.5, col=0.5)] * 2))), "needs at least 3"),
    (note(info=RegionInfo(polygon=resources_pb2.Polygon(points=[Point(row=2)] * 3))), "polygon.row is 2"),
    (note(info=RegionInfo(point=Point(row=0.5, col=-1))), "point.col is -1"),
    (note(info=RegionInfo(mask=resources_pb2.Mask())), "polygon"),
    (note(concept="a/b"), "no slashes"),
    (Annotation(input_id="b", input_level=True), "one input-level annotation already"),
    (note(status=resources_pb2.Input(status={"code": 10000}).status), "cannot have the status 10000"),
]


@pytest.mark.parametrize(("bad", "words"), REFUSALS, ids=[words for _, words in REFUSALS])
def test_one_bad_annotation_gets_a_sentence_and_the_others_are_kept(annotations, inputs, ref, bad, words):
    annotations.post(ref, ANA, [note("a", "there")])
    done = annotations.post(ref, ANA, [note("a", "good"), bad])
    assert done.status.code == status_code_pb2.MIXED_STATUS
    assert done.annotations[0].status.code == status_code_pb2.ANNOTATION_SUCCESS
    assert words in done.annotations[1].status.details
    assert words in done.status.details
    assert annotations.get(ref, "a", "good")
    assert annotations.post(ref, ANA, [bad]).status.code == status_code_pb2.FAILURE


def test_the_very_edges_of_an_image_are_inside_even_in_32_bits(annotations, inputs, ref):
    assert annotations.post(ref, ANA, [note(info=box(-1e-7, 0, 1.0000001, 1))]).status.code == status_code_pb2.SUCCESS


def test_labels_of_frames_are_kept_and_what_no_label_says_is_not(annotations, inputs, ref):
    frame = resources_pb2.Frame(data=Data(concepts=[Concept(id="cat", value=1)]))
    order = Annotation(input_id="a", data=Data(frames=[frame], int_value=3, embeddings=[resources_pb2.Embedding()]))
    order.data.image.base64 = b"bytes"
    [kept] = annotations.post(ref, ANA, [order]).annotations
    assert said(kept.data.frames[0].data) == {"cat": 1}
    assert [field.name for field, _ in kept.data.ListFields()] == ["frames"]


def test_a_list_can_be_narrowed_and_pairs_of_ids_name_exactly_what_they_say(annotations, inputs, ref, other_ref):
    rejected = resources_pb2.Input(status={"code": status_code_pb2.ANNOTATION_REVIEW_DENIED}).status
    orders = [note("a", "x"), note("a", "y", task_id="t"), note("c", "x", status=rejected), note("c", "y")]
    annotations.post(ref, ANA, orders)
    annotations.post(ref, "bob", [note("a", "bobs")])

    def listed(paging=FIRST, **filters):
        return [
            (each.input_id, each.id)
            for each in annotations.list_of(ref, Wanted(filters=AnnotationFilter(**filters)), paging)
        ]

    assert len(listed()) == 6
    assert listed(input_ids=("c",)) == [("c", "x"), ("c", "y")]
    assert listed(user_ids=("bob",)) == [("a", "bobs")]
    assert listed(statuses=(status_code_pb2.ANNOTATION_REVIEW_DENIED,)) == [("c", "x")]
    assert listed(task_id="t") == [("a", "y")]
    assert listed(Paging(2, 2), input_ids=("a", "c")) == [("c", "x"), ("c", "y")]
    assert listed(Paging(9, 128)) == []
    wanted = Wanted(pairs=paired(["a", "c"], ["y", "x"]))
    assert [(each.input_id, each.id) for each in annotations.list_of(ref, wanted, FIRST)] == [("a", "y"), ("c", "x")]
    assert annotations.list_of(other_ref, Wanted(), FIRST) == []
    with pytest.raises(InvalidRequest, match="1 `ids` and 2 `input_ids`"):
        paired(["a", "b"], ["x"])


def test_what_a_model_said_is_listed_only_when_asked_for(annotations, inputs, ref):
    annotations.post(ref, ANA, [note("a", "person"), note("a", "model", model_version_id="v1")])
    of_a = AnnotationFilter(input_ids=("a",))
    assert ids(annotations.list_of(ref, Wanted(filters=of_a), FIRST)) == ["person"]
    assert ids(annotations.list_of(ref, Wanted(filters=of_a, also_by_models=True), FIRST)) == ["person", "model"]


def test_deleting_needs_inputs_and_deletes_exactly_the_pairs_or_all_of_the_inputs(annotations, inputs, ref, other_ref):
    annotations.post(ref, ANA, [note(input_id, annotation_id) for input_id in "ac" for annotation_id in "xy"])
    for input_ids, annotation_ids in (([], []), ([], ["x"]), (["a", "c"], ["x"])):
        with pytest.raises(InvalidRequest):
            annotations.delete(ref, input_ids, annotation_ids)
    assert annotations.delete(other_ref, ["a"]) == 0
    assert annotations.delete(ref, ["a", "c"], ["x", "y"]) == 2
    left = annotations.list_of(ref, Wanted(), FIRST)
    assert {(each.input_id, each.id) for each in left if not each.input_level} == {("a", "y"), ("c", "x")}
    assert annotations.delete(ref, ["a", "b"]) == 2
    assert ids(annotations.list_of(ref, Wanted(), FIRST)) == ["x"]
    with pytest.raises(NotFound):
        annotations.delete_one(ref, "a", "y")


def test_an_input_says_what_its_input_level_annotation_says(annotations, inputs, ref):
    def of(input_id):
        return said(inputs.get(ref, input_id).data)

    annotations.post(
        ref,
        ANA,
        [Annotation(id="i", input_id="a", input_level=True, data=Data(concepts=[Concept(id="fern", value=1)]))],
    )
    annotations.post(ref, ANA, [Annotation(input_id="a", data=Data(concepts=[Concept(id="other", value=1)]))])
    assert of("a") == {"fern": 1}
    annotations.patch(
        ref, [Annotation(id="i", input_id="a", data=Data(concepts=[Concept(id="fern", value=0)]))], "merge"
    )
    assert of("a") == {"fern": 0}
    annotations.delete(ref, ["a"])
    annotations.delete(ref, ["b"])
    assert of("a") == of("b") == {}
    inputs.patch(ref, ANA, [resources_pb2.Input(id="b", data=Data(concepts=[Concept(id="rose", value=1)]))], "merge")
    assert of("b") == {"rose": 1}


def test_patches_merge_overwrite_and_remove_regions_by_id(annotations, inputs, ref):
    [first] = annotations.post(ref, ANA, [note("a", "n")]).annotations
    region = first.data.regions[0]

    def patch(action, *regions, **more):
        [done] = annotations.patch(
            ref, [Annotation(id="n", input_id="a", data=Data(regions=regions), user_id="eve")], action, **more
        )
        assert (done.user_id, done.created_at) == (ANA, first.created_at)
        return [each.data.concepts[0].id for each in done.data.regions]

    leaf = note(concept="leaf").data.regions[0]
    assert patch("merge", leaf) == ["petal", "leaf"]
    assert patch("remove", Region(id=region.id)) == ["leaf"]
    assert patch("overwrite", region) == ["petal"]
    with pytest.raises(InvalidAnnotation, match="top_row"):
        patch("merge", note(info=box(1, 0, 0.5, 1)).data.regions[0])
    assert len(annotations.get(ref, "a", "n").data.regions) == 1
    assert patch("remove", region, delete_if_empty=True) == []
    with pytest.raises(NotFound):
        annotations.get(ref, "a", "n")


def test_a_removal_that_empties_an_input_level_annotation_does_not_delete_it(annotations, inputs, ref):
    [own] = annotations.list_of(ref, Wanted(), FIRST)
    change = Annotation(id=own.id, input_id="b", data=Data(concepts=[Concept(id="rose")]))
    annotations.patch(ref, [change], "remove", delete_if_empty=True)
    assert annotations.get(ref, "b", own.id).input_level
    assert not inputs.get(ref, "b").data.concepts


def test_a_patch_can_move_an_annotation_through_a_review(annotations, inputs, ref):
    annotations.post(ref, ANA, [note("a", "n")])
    change = Annotation(id="n", input_id="a")
    change.status.code = status_code_pb2.ANNOTATION_AWAITING_REVIEW
    [done] = annotations.patch(ref, [change], "merge")
    assert done.status.code == status_code_pb2.ANNOTATION_AWAITING_REVIEW
    assert done.data.regions


def test_a_renamed_concept_is_called_by_its_new_name_everywhere(annotations, inputs, db, ref):
    annotations.post(ref, ANA, [note("b", "n", concept="rose")])
    Concepts(db=db).patch(ref, [Concept(id="rose", name="Rosa canina")], "overwrite")
    region = annotations.get(ref, "b", "n").data.regions[0]
    whole = annotations.list_of(ref, Wanted(), FIRST)[0]
    for data in (region.data, whole.data, inputs.get(ref, "b").data, inputs.list_of(ref, FIRST)[1].data):
        assert data.concepts[0].name == "Rosa canina"


def test_an_annotation_may_name_more_concepts_than_a_statement_has_places(annotations, inputs, ref):
    labels = [Concept(id=f"c{number}", value=1) for number in range(40_000)]
    done = annotations.post(ref, ANA, [Annotation(id="n", input_id="a", data=Data(concepts=labels))])
    assert done.status.code == status_code_pb2.SUCCESS
    assert len(annotations.get(ref, "a", "n").data.concepts) == 40_000
