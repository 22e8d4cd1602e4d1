import pytest

from lehr.errors import Duplicate, InvalidRequest, InvalidSearch, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.annotation_filters import AnnotationFilters
from lehr.services.annotations import Annotations
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets, Order
from lehr.services.inputs import Inputs, Upload
from lehr.services.paging import Paging
from lehr.store import items

Dataset, Version, Data, Input = (
    resources_pb2.Dataset,
    resources_pb2.DatasetVersion,
    resources_pb2.Data,
    resources_pb2.Input,
)
AnnotationFilter = resources_pb2.AnnotationFilter
FIRST = Paging(1, 128)
ANA = "ana"


@pytest.fixture
def datasets(db) -> Datasets:
    return Datasets(db=db)


@pytest.fixture
def versions(db) -> DatasetVersions:
    return DatasetVersions(db=db)


@pytest.fixture
def inputs(db, blobs, queue, ref) -> Inputs:
    """With texts a to e, of which a is a rose."""
    service = Inputs(db=db, blobs=blobs, queue=queue)
    texts = [Input(id=each, data=Data(text=resources_pb2.Text(raw=each))) for each in "abcde"]
    texts[0].data.concepts.append(resources_pb2.Concept(id="rose", value=1))
    service.post(ref, ANA, Upload(inputs=texts))
    return service


def members(datasets, ref, dataset_id):
    return [item.input.id for item in datasets.list_inputs(ref, dataset_id, FIRST)]


def by_dataset(*names, **more):
    filters = [resources_pb2.Filter(input=Input(dataset_ids=[name], **more)) for name in names]
    return resources_pb2.Search(query=resources_pb2.Query(filters=filters))


def test_data_sets_are_made_found_changed_and_deleted(datasets, ref, other_ref):
    [train, _] = datasets.create(ref, [Dataset(id="train", user_id="eve", star_count=9), Dataset(description="x")])
    assert (train.app_id, train.user_id, train.star_count) == ("flowers", "ana", 0)
    with pytest.raises(Duplicate, match="'train' already exists"):
        datasets.create(ref, [Dataset(id="new"), Dataset(id="train")])
    with pytest.raises(NotFound):
        datasets.get(ref, "new")
    with pytest.raises(NotFound):
        datasets.get(other_ref, "train")
    change = Dataset(id="train", description="better", user_id="eve", metadata=to_struct({"a": 1}))
    [done] = datasets.patch(ref, [change], "merge")
    assert (done.description, done.user_id, from_struct(done.metadata)) == ("better", "ana", {"a": 1})
    assert datasets.delete(ref, []) == 0
    assert len(datasets.list_of(ref, FIRST)) == 2
    assert datasets.delete(ref, ["train", "unknown"]) == 1
    with pytest.raises(NotFound):
        datasets.get(ref, "train")


def test_an_id_with_a_slash_is_refused(datasets, ref):
    with pytest.raises(InvalidRequest, match="'a/b' is not usable"):
        datasets.create(ref, [Dataset(id="a/b")])


def test_lists_are_sorted_and_narrowed_as_asked(datasets, ref):
    for name in ("b", "c", "a"):
        datasets.create(ref, [Dataset(id=name, notes=f"note {name}")])
    datasets.patch(ref, [Dataset(id="b", description="changed last")], "overwrite")

    def ids(*args):
        return [each.id for each in datasets.list_of(ref, *args)]

    assert ids(FIRST) == ["b", "a", "c"]
    assert ids(FIRST, Order(by="created_at", is_ascending=True)) == ["b", "c", "a"]
    assert ids(FIRST, Order(by="id", is_ascending=True)) == ["a", "b", "c"]
    assert ids(FIRST, Order(like="CHANGED note")) == ["b"]
    assert ids(Paging(2, 2)) == ["c"]
    assert ids(Paging(3, 2)) == []


def test_inputs_are_added_once_and_unknown_ones_are_named(datasets, inputs, ref):
    datasets.create(ref, [Dataset(id="d")])
    assert datasets.add_inputs(ref, "d", ["b", "a"]).status.code == status_code_pb2.SUCCESS
    again = datasets.add_inputs(ref, "d", ["a", "c", "zz"])
    assert again.status.code == status_code_pb2.MIXED_STATUS
    assert "'zz'" in again.status.details
    assert [item.input.status.code for item in again.inputs] == [64101, 64100, 30102]
    assert members(datasets, ref, "d") == ["b", "a", "c"]
    assert datasets.add_inputs(ref, "d", ["a"]).status.code == status_code_pb2.SUCCESS
    assert datasets.add_inputs(ref, "d", ["zz"]).status.code == status_code_pb2.FAILURE
    with pytest.raises(NotFound, match="'none'"):
        datasets.add_inputs(ref, "none", ["a"])


def test_inputs_are_taken_out_but_stay_in_the_app_and_an_empty_list_takes_none(datasets, inputs, ref):
    datasets.create(ref, [Dataset(id="d")])
    datasets.add_inputs(ref, "d", list("abc"))
    assert datasets.remove_inputs(ref, "d", []) == 0
    assert datasets.remove_inputs(ref, "d", ["b", "e"]) == 1
    assert members(datasets, ref, "d") == ["a", "c"]
    assert inputs.get(ref, "b").id == "b"
    with pytest.raises(NotFound):
        datasets.get_input(ref, "d", "b")
    inputs.delete(ref, ["a"])
    assert members(datasets, ref, "d") == ["c"]


def test_one_data_set_is_merged_into_another_by_a_search(datasets, inputs, ref):
    datasets.create(ref, [Dataset(id=each) for each in ("one", "two", "all")])
    datasets.add_inputs(ref, "one", list("ab"))
    datasets.add_inputs(ref, "two", list("bc"))
    assert datasets.add_found(ref, "all", by_dataset("one")) == 2
    assert datasets.add_found(ref, "all", by_dataset("one")) == 0
    assert datasets.add_found(ref, "all", by_dataset("two", status={"code": 30000})) == 1
    assert members(datasets, ref, "all") == ["a", "b", "c"]
    datasets.create(ref, [Dataset(id="both")])
    datasets.add_found(ref, "both", by_dataset("one", "two"))
    assert members(datasets, ref, "both") == ["b"]
    by_status = resources_pb2.Filter(input=Input(status={"code": 30000}))
    datasets.add_found(ref, "both", resources_pb2.Search(query=resources_pb2.Query(filters=[by_status])))
    assert sorted(members(datasets, ref, "both")) == list("abcde")


def test_a_search_that_cannot_be_answered_adds_nothing_and_says_why(datasets, inputs, ref):
    datasets.create(ref, [Dataset(id="d")])
    query = resources_pb2.Query
    negated = resources_pb2.Filter(negate=True)
    masked = resources_pb2.Filter(annotation=resources_pb2.Annotation(consensus_info=to_struct({"a": 1})))
    wrong = {
        "asks for nothing": query(),
        "is negated but": query(filters=[negated]),
        "consensus_info cannot": query(filters=[masked]),
        "Leave them out": query(ranks=[resources_pb2.Rank()]),
    }
    for sentence, each in wrong.items():
        with pytest.raises(InvalidSearch, match=sentence):
            datasets.add_found(ref, "d", resources_pb2.Search(query=each))
    with pytest.raises(NotFound):
        datasets.add_found(ref, "d", by_dataset("none"))
    assert members(datasets, ref, "d") == []


def test_a_version_is_ready_at_once_and_no_later_edit_reaches_it(datasets, versions, inputs, db, ref):
    datasets.create(ref, [Dataset(id="d")])
    datasets.add_inputs(ref, "d", list("ab"))
    [version] = versions.create(ref, "d", [Version(id="v1", description="first", metadata=to_struct({"a": 1}))])
    assert version.status.code == status_code_pb2.DATASET_VERSION_READY
    assert (version.dataset_id, version.app_id, version.user_id) == ("d", "flowers", "ana")
    Annotations(db=db).delete(ref, ["a"])
    datasets.add_inputs(ref, "d", ["c"])
    inputs.delete(ref, ["b"])
    with db.read() as tx:
        frozen = list(items.stream(tx, items.Source(app=ref, dataset_id="d", dataset_version_id="v1")))
    assert [item.input_id for item in frozen] == ["a", "b"]
    assert [each.data.concepts[0].id for each in frozen[0].annotations] == ["rose"]
    assert datasets.get(ref, "d").version.id == "v1"


def test_a_version_made_too_early_says_what_it_left_out(datasets, versions, inputs, ref, picture):
    datasets.create(ref, [Dataset(id="d")])
    waiting = Input(id="waiting", data={"image": {"base64": picture()}})
    inputs.post(ref, ANA, Upload(inputs=[waiting]))
    datasets.add_inputs(ref, "d", ["a", "waiting"])
    [version] = versions.create(ref, "d", [Version(id="early")])
    assert version.status.details.startswith("1 of 2 inputs were still being processed")
    assert versions.get(ref, "d", "early").status == version.status


def test_versions_are_listed_newest_first_and_an_empty_delete_deletes_none(datasets, versions, ref):
    datasets.create(ref, [Dataset(id="d")])
    made = versions.create(ref, "d", [Version(id="v1"), Version()])
    assert len(made[1].id) == 32
    assert [each.id for each in versions.list_of(ref, "d", FIRST)] == [made[1].id, "v1"]
    assert versions.delete(ref, "d", []) == 0
    assert versions.delete(ref, "d", ["v1", "unknown"]) == 1
    with pytest.raises(NotFound):
        versions.get(ref, "d", "v1")
    with pytest.raises(NotFound):
        versions.create(ref, "none", [Version()])
    [kept] = versions.patch(ref, "d", [Version(id=made[1].id, description="said later")], "merge")
    assert kept.description == "said later"
    with pytest.raises(Duplicate):
        versions.create(ref, "d", [Version(id=made[1].id)])


def labelled(*ids, negate=False):
    concepts = [resources_pb2.Concept(id=id_, value=1) for id_ in ids]
    annotation = resources_pb2.Annotation(data=Data(concepts=concepts))
    return resources_pb2.Search(
        query=resources_pb2.Query(filters=[resources_pb2.Filter(annotation=annotation, negate=negate)])
    )


def frozen_of(db, ref, version_id):
    with db.read() as tx:
        found = list(items.stream(tx, items.Source(app=ref, dataset_id="d", dataset_version_id=version_id)))
    return {item.input_id: [label.id for note in item.annotations for label in note.data.concepts] for item in found}


def test_any_filter_can_choose_what_comes_into_a_data_set(datasets, inputs, ref):
    datasets.create(ref, [Dataset(id="d"), Dataset(id="rest")])
    assert datasets.add_found(ref, "d", labelled("rose")) == 1
    assert datasets.add_found(ref, "rest", labelled("rose", negate=True)) == 4
    assert (members(datasets, ref, "d"), members(datasets, ref, "rest")) == (["a"], list("bcde"))


def test_a_version_holds_the_annotations_that_its_filter_chooses(datasets, versions, inputs, db, ref):
    filters = AnnotationFilters(db=db)
    filters.create(ref, [AnnotationFilter(id="roses", search=labelled("rose"))])
    datasets.create(ref, [Dataset(id="d", default_annotation_filter=AnnotationFilter(id="roses"))])
    datasets.add_inputs(ref, "d", list("abc"))
    fern = resources_pb2.Concept(id="fern", value=1)
    notes = [resources_pb2.Annotation(input_id=each, data=Data(concepts=[fern])) for each in "ab"]
    Annotations(db=db).post(ref, ANA, notes)

    ferns = Version(id="ferns")
    ferns.annotation_filter_config.annotation_filter.search.CopyFrom(labelled("fern"))
    ferns.annotation_filter_config.ignore_empty_inputs = True
    labelled_ones = Version(id="labelled")
    labelled_ones.annotation_filter_config.annotation_filter.SetInParent()
    labelled_ones.annotation_filter_config.ignore_empty_inputs = True
    by_default, *_ = versions.create(ref, "d", [Version(id="default"), ferns, labelled_ones])

    assert by_default.annotation_filter_config.annotation_filter.id == "roses"
    assert frozen_of(db, ref, "default") == {"a": ["rose"], "b": [], "c": []}
    assert frozen_of(db, ref, "ferns") == {"a": ["fern"], "b": ["fern"]}
    assert frozen_of(db, ref, "labelled") == {"a": ["rose", "fern"], "b": ["fern"]}
    filters.delete(ref, ["roses"])
    with pytest.raises(NotFound, match="'roses'"):
        versions.create(ref, "d", [Version()])
    with pytest.raises(InvalidRequest, match="model_predict_config"):
        versions.create(ref, "d", [Version(model_predict_config={"model": {"id": "m"}})])
    with pytest.raises(NotFound, match="'none'"):
        datasets.patch(ref, [Dataset(id="d", default_annotation_filter=AnnotationFilter(id="none"))], "overwrite")


def test_annotation_filters_are_made_found_changed_and_deleted(db, ref, other_ref):
    filters = AnnotationFilters(db=db)
    [made] = filters.create(ref, [AnnotationFilter(id="f", user_id="eve", search=labelled("rose"))])
    assert (made.user_id, made.app_id) == ("ana", "flowers")
    with pytest.raises(Duplicate):
        filters.create(ref, [AnnotationFilter(id="f", search=labelled("rose"))])
    with pytest.raises(NotFound):
        filters.get(other_ref, "f")
    filters.patch(ref, [AnnotationFilter(id="f", search=labelled("fern"))], "")
    assert filters.get(ref, "f").search == labelled("fern")
    assert [each.id for each in filters.list_of(ref, FIRST)] == ["f"]
    ranked = resources_pb2.Search(query=resources_pb2.Query(ranks=[resources_pb2.Rank()]))
    for wrong, sentence in ((ranked, "ranks only put"), (resources_pb2.Search(), "ask for something")):
        with pytest.raises(InvalidSearch, match=sentence):
            filters.create(ref, [AnnotationFilter(search=wrong)])
    assert filters.delete(ref, []) == 0
    assert filters.delete(ref, ["f", "unknown"]) == 1
