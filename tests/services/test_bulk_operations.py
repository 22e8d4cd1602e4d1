"""Operations on many inputs: each kind, each source, and a death at every moment."""

import pytest

from lehr.errors import Cancelled, Duplicate, InvalidRequest, LeaseLost, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.annotations import Annotations, Wanted
from lehr.services.bulk_operations import KIND, BulkOperations
from lehr.services.bulk_running import BulkRunning
from lehr.services.datasets import Datasets
from lehr.services.inputs import Inputs, Upload
from lehr.services.paging import Paging

Bulk, Operation, Input, Data = (
    resources_pb2.BulkOperation,
    resources_pb2.Operation,
    resources_pb2.Input,
    resources_pb2.Data,
)
Concept, Filter, Search = resources_pb2.Concept, resources_pb2.Filter, resources_pb2.Search
ANA = "ana"
FIRST = Paging(1, 1000)
IDS = [f"i{n}" for n in range(10)]


@pytest.fixture
def bulk(db, queue) -> BulkOperations:
    return BulkOperations(db=db, queue=queue, searches=None)  # ranked searches: test_searches.py


@pytest.fixture
def running(db, queue) -> BulkRunning:
    return BulkRunning(db=db, queue=queue, batch=3)


@pytest.fixture
def inputs(db, blobs, queue, ref) -> Inputs:
    """Ten texts; the even ones are roses; data set `d` holds the first four."""
    service = Inputs(db=db, blobs=blobs, queue=queue)
    Datasets(db=db).create(ref, [resources_pb2.Dataset(id=each) for each in ("d", "train", "test")])
    texts = [Input(id=each, data=Data(text=resources_pb2.Text(raw=each))) for each in IDS]
    for text in texts[::2]:
        text.data.concepts.append(Concept(id="rose", value=1))
    for text in texts[:4]:
        text.dataset_ids.append("d")
    service.post(ref, ANA, Upload(inputs=texts))
    return service


def of(*ids):
    return resources_pb2.InputIDs(input_ids=ids or IDS)


def by_concept(concept):
    wanted = resources_pb2.Annotation(data=Data(concepts=[Concept(id=concept, value=1)]))
    return Search(query=resources_pb2.Query(filters=[Filter(annotation=wanted)]))


def concepts(kind, *ids, value=1, **more):
    order = getattr(resources_pb2, kind)(concepts=[Concept(id=each, value=value) for each in ids], **more)
    return Operation(**{"add_concepts" if kind == "AddConcepts" else "delete_concepts": order})


def done(bulk, running, ref, order):
    [asked] = bulk.post(ref, ANA, [order])
    assert asked.status.code == status_code_pb2.BULK_OPERATION_PENDING
    while (job := running.queue.claim("worker", kinds=[KIND])) is not None:
        running.run(job)
        with running.db.write() as tx:
            if not running.queue.view(tx, job.id).state.is_final:
                running.queue.finish(tx, job)
    return bulk.get(ref, asked.id)


def labels(inputs, ref):
    return {each.id: {c.id: c.value for c in each.data.concepts} for each in inputs.list_of(ref, FIRST)}


def members(db, ref, dataset_id):
    return {item.input.id for item in Datasets(db=db).list_inputs(ref, dataset_id, FIRST)}


def test_concepts_are_added_and_changed_on_inputs_and_their_annotations(bulk, running, inputs, db, ref):
    told = done(bulk, running, ref, Bulk(input_ids=of(), operation=concepts("AddConcepts", "rose", "new", value=0.5)))
    assert told.status.code == status_code_pb2.BULK_OPERATION_SUCCESS
    assert (told.progress.processed, told.progress.last_processed_id, told.created_by) == (10, "i9", ANA)
    assert told.last_modified_at.ToNanoseconds() > told.created_at.ToNanoseconds()
    assert labels(inputs, ref) == {each: {"rose": 0.5, "new": 0.5} for each in IDS}
    noted = Annotations(db=db).list_of(ref, Wanted(), FIRST)
    assert len(noted) == 10
    assert all({c.id for c in note.data.concepts} == {"rose", "new"} for note in noted)


def test_a_search_finds_what_is_changed_even_where_the_change_ends_the_finding(bulk, running, inputs, ref):
    told = done(bulk, running, ref, Bulk(search=by_concept("rose"), operation=concepts("DeleteConcepts", "rose")))
    assert told.progress.processed == 5
    assert labels(inputs, ref) == {each: {} for each in IDS}


def test_concepts_are_deleted_only_from_what_the_named_people_said(bulk, running, inputs, db, ref):
    region = resources_pb2.Region(data=Data(concepts=[Concept(id="rose", value=1)]))
    note = resources_pb2.Annotation(input_id="i1", data=Data(regions=[region]))
    Annotations(db=db).post(ref, "eve", [note])
    done(bulk, running, ref, Bulk(input_ids=of(), operation=concepts("DeleteConcepts", "rose")))
    [left] = [each for each in Annotations(db=db).list_of(ref, Wanted(), FIRST) if each.user_id == "eve"]
    assert left.data.regions[0].data.concepts[0].id == "rose"
    by_eve = concepts("DeleteConcepts", "rose", user_ids=["eve"])
    done(bulk, running, ref, Bulk(input_ids=of(), operation=by_eve))
    [left] = [each for each in Annotations(db=db).list_of(ref, Wanted(), FIRST) if each.user_id == "eve"]
    assert not left.data.regions[0].data.concepts
    assert labels(inputs, ref) == {each: {} for each in IDS}


def test_metadata_is_added_key_by_key_and_deleted_where_it_matches(bulk, running, inputs, ref):
    def metadata():
        return {each.id: from_struct(each.data.metadata) for each in inputs.list_of(ref, FIRST)}

    added = resources_pb2.AddMetadata(metadata=to_struct({"a": 1, "b": {"c": 2, "d": 3}}))
    done(bulk, running, ref, Bulk(dataset=resources_pb2.Dataset(id="d"), operation=Operation(add_metadata=added)))
    assert metadata() == {each: {"a": 1, "b": {"c": 2, "d": 3}} if each in IDS[:4] else {} for each in IDS}
    less = resources_pb2.DeleteMetadata(metadata=to_struct({"a": 2, "b": {"c": 2}, "z": 1}))
    done(bulk, running, ref, Bulk(input_ids=of(), operation=Operation(delete_metadata=less)))
    assert metadata()["i0"] == {"a": 1, "b": {"d": 3}}


def test_places_are_set_and_taken_away(bulk, running, inputs, ref):
    geo = resources_pb2.Geo(geo_point=resources_pb2.GeoPoint(longitude=13.4, latitude=52.5))
    order = Operation(overwrite_geo=resources_pb2.OverwriteGeo(geo=geo))
    done(bulk, running, ref, Bulk(input_ids=of("i1", "i2"), operation=order))
    assert [each.id for each in inputs.list_of(ref, FIRST) if each.data.HasField("geo")] == ["i1", "i2"]
    done(bulk, running, ref, Bulk(input_ids=of(), operation=Operation(delete_geo=resources_pb2.DeleteGeo())))
    assert not any(each.data.HasField("geo") for each in inputs.list_of(ref, FIRST))


def test_data_sets_are_filled_emptied_and_split(bulk, running, inputs, db, ref):
    add = Operation(add_to_dataset=resources_pb2.AddToDataset(dataset_id="d"))
    told = done(bulk, running, ref, Bulk(input_ids=of("i8", "i9", "gone"), operation=add))
    assert "1 of the 3 that were named do not exist" in told.status.details
    assert members(db, ref, "d") == {*IDS[:4], "i8", "i9"}
    remove = Operation(delete_from_dataset=resources_pb2.DeleteFromDataset(dataset_id="d"))
    done(bulk, running, ref, Bulk(dataset=resources_pb2.Dataset(id="d"), operation=remove))
    assert members(db, ref, "d") == set()
    done(bulk, running, ref, Bulk(id="cut", input_ids=of(), operation=splitting(("train", 70), ("test", 30))))
    train, test = members(db, ref, "train"), members(db, ref, "test")
    assert (len(train), len(test), train | test) == (7, 3, set(IDS))
    assert train != set(IDS[:7])


def splitting(*parts):
    splits = [
        resources_pb2.DatasetSplit(dataset=resources_pb2.Dataset(id=name), percentage=percent)
        for name, percent in parts
    ]
    method = resources_pb2.SplitIntoDatasets.RANDOM_PERCENTAGE_SPLIT
    return Operation(split_into_datasets=resources_pb2.SplitIntoDatasets(dataset_splits=splits, method=method))


def test_annotations_found_by_a_search_are_deleted(bulk, running, inputs, db, ref):
    order = Operation(delete_annotations=resources_pb2.DeleteAnnotations())
    told = done(bulk, running, ref, Bulk(annotation_search=by_concept("rose"), operation=order))
    assert told.progress.processed == 5
    assert Annotations(db=db).list_of(ref, Wanted(), FIRST) == []
    assert labels(inputs, ref) == {each: {} for each in IDS}


class Killed(BaseException):
    pass


def test_an_operation_killed_anywhere_ends_as_one_that_never_was(bulk, inputs, db, queue, ref, monkeypatch):
    running, deaths = BulkRunning(db=db, queue=queue, batch=2, turn_seconds=0.0), iter(range(1000))
    step = BulkRunning._step

    def deadly(self, job, change, whole):
        if next(deaths) % 3 == 1:
            raise Killed
        going_on = step(self, job, change, whole)
        if next(deaths) % 3 == 0:
            raise Killed
        return going_on

    monkeypatch.setattr(BulkRunning, "_step", deadly)
    bulk.post(ref, ANA, [Bulk(id="cut", input_ids=of(), operation=splitting(("train", 50), ("test", 50)))])
    for _ in range(500):
        if bulk.get(ref, "cut").status.code == status_code_pb2.BULK_OPERATION_SUCCESS:
            break
        job = queue.claim("worker", kinds=[KIND], lease_seconds=0.01)
        if job is not None:
            try:
                running.run(job)
            except (Killed, LeaseLost):
                continue
    told = bulk.get(ref, "cut")
    assert (told.progress.processed, told.status.percent_completed) == (10, 100)
    train, test = members(db, ref, "train"), members(db, ref, "test")
    assert (len(train), len(test), train & test) == (5, 5, set())


def test_inputs_that_come_later_are_not_touched(bulk, running, inputs, db, queue, ref):
    order = Bulk(id="b", search=by_concept("rose"), operation=concepts("AddConcepts", "x"))
    bulk.post(ref, ANA, [order])
    job = queue.claim("worker", kinds=[KIND])
    late = Input(id="late", data=Data(text=resources_pb2.Text(raw="l"), concepts=[Concept(id="rose", value=1)]))
    step = running._step
    with db.write() as tx:
        begun = running._begun(tx, ref, job)
    assert begun
    inputs.post(ref, ANA, Upload(inputs=[late]))
    running.run(job)
    assert step
    assert bulk.get(ref, "b").progress.processed == 5
    assert "x" not in labels(inputs, ref)["late"]


def test_operations_are_repeated_listed_cancelled_and_forgotten(bulk, running, inputs, queue, ref, other_ref):
    order = Bulk(id="b", input_ids=of(), operation=concepts("AddConcepts", "x"))
    assert bulk.post(ref, ANA, [order])[0].id == bulk.post(ref, ANA, [order])[0].id == "b"
    with pytest.raises(Duplicate, match="something else"):
        bulk.post(ref, ANA, [Bulk(id="b", input_ids=of(), operation=concepts("AddConcepts", "y"))])
    assert [each.id for each in bulk.list_of(ref, FIRST)] == ["b"]
    assert bulk.list_of(other_ref, FIRST) == []
    held = queue.claim("worker", kinds=[KIND])
    with pytest.raises(NotFound):
        bulk.cancel(ref, ["b", "none"])
    [stopped] = bulk.cancel(ref, ["b"])
    assert stopped.status.code == status_code_pb2.BULK_OPERATION_CANCELLED
    with pytest.raises(Cancelled):
        running.run(held)
    assert bulk.delete(ref, []) == 0
    assert bulk.delete(ref, ["b", "none"]) == 1
    with pytest.raises(NotFound):
        bulk.get(ref, "b")
    assert "x" not in labels(inputs, ref)["i0"]


def test_an_operation_that_cannot_go_on_says_how_far_it_was(bulk, running, inputs, queue, db, ref):
    order = Operation(add_to_dataset=resources_pb2.AddToDataset(dataset_id="train"))
    bulk.post(ref, ANA, [Bulk(id="b", input_ids=of(), operation=order)])
    Datasets(db=db).delete(ref, ["train"])
    job = queue.claim("worker", kinds=[KIND])
    with pytest.raises(NotFound) as caught:
        running.run(job)
    with db.write() as tx:
        running.failed(tx, job, caught.value)
    told = bulk.get(ref, "b").status
    assert told.code == status_code_pb2.BULK_OPERATION_FAILED
    assert "Stopped after 0" in told.details
    assert "'train'" in told.details


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Bulk(), "none on nothing"),
        (Bulk(input_ids=of("a")), "needs an operation"),
        (Bulk(operation=concepts("AddConcepts", "x")), "add_concepts on nothing"),
        (Bulk(input_ids=resources_pb2.InputIDs(), operation=concepts("AddConcepts", "x")), "names 1 to 10,000"),
        (Bulk(input_ids=of("a"), operation=concepts("AddConcepts")), "needs concepts"),
        (Bulk(input_ids=of("a"), operation=concepts("AddConcepts", "a/b")), "'a/b' is not usable"),
        (Bulk(search=Search(), operation=concepts("AddConcepts", "x")), "would find everything"),
        (Bulk(input_ids=of("a"), operation=Operation(add_metadata={})), "at least one key"),
        (Bulk(input_ids=of("a"), operation=Operation(overwrite_geo={})), "needs geo"),
        (Bulk(input_ids=of("a"), operation=Operation(delete_annotations={})), "needs input_ids, search or dataset"),
        (Bulk(annotation_search=by_concept("x"), operation=concepts("AddConcepts", "x")), "annotation_search"),
        (Bulk(input_ids=of("a"), operation=Operation(split_into_datasets={})), "RANDOM_PERCENTAGE_SPLIT"),
        (Bulk(input_ids=of("a"), operation=splitting(("train", 80), ("test", 30))), "at most 100 together"),
        (Bulk(input_ids=of("a"), operation=splitting(("train", 0))), "1 to 100"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_queued(bulk, inputs, ref, order, words):
    good = Bulk(input_ids=of(), operation=concepts("AddConcepts", "x"))
    with pytest.raises(InvalidRequest, match=words) as refused:
        bulk.post(ref, ANA, [good, order])
    assert refused.value.code == status_code_pb2.BULK_OPERATION_INVALID_REQUEST
    assert bulk.list_of(ref, FIRST) == []


def test_unknown_data_sets_are_refused(bulk, inputs, ref):
    for order in (
        Bulk(dataset=resources_pb2.Dataset(id="none"), operation=concepts("AddConcepts", "x")),
        Bulk(input_ids=of("a"), operation=Operation(add_to_dataset={"dataset_id": "none"})),
        Bulk(input_ids=of("a"), operation=splitting(("none", 100))),
    ):
        with pytest.raises(NotFound, match="'none'"):
            bulk.post(ref, ANA, [order])
