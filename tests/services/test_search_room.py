"""Many large searches at once: they take turns, nobody waits for ever, and ordinary ones go on."""

from __future__ import annotations

import threading

import pytest
from index_shop import COLOURS, plain

from lehr.errors import Busy
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.services.paging import Paging
from lehr.services.ranks import Ranks
from lehr.services.search_room import SearchRoom
from lehr.services.searches import Searches


def test_large_searches_take_turns_within_the_room():
    room, lock = SearchRoom(capacity=10, patience_seconds=30), threading.Lock()
    inside: list[int] = []
    most: list[int] = []
    barrier = threading.Barrier(12)

    def search(hits: int) -> None:
        barrier.wait()
        for _ in range(20):
            with room.taken(hits):
                with lock:
                    inside.append(hits)
                    most.append(sum(inside))
                with lock:
                    inside.remove(hits)

    threads = [threading.Thread(target=search, args=(hits,)) for hits in (1, 2, 3, 4, 6, 9, 1, 2, 3, 4, 6, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 12 * 20
    assert max(most) <= 10


def test_what_is_larger_than_the_room_runs_alone_and_who_waits_too_long_is_told_to_come_again():
    room = SearchRoom(capacity=10, patience_seconds=0.05)
    waiting = pytest.raises(Busy, match="wants 1 more: at most 10 are ranked at once")
    with room.taken(1_000_000), waiting as refused, room.taken(1):
        pass
    assert refused.value.code == status_code_pb2.CONN_THROTTLED, "published clients repeat a call on it"
    with room.taken(10):
        pass


def test_a_ranked_search_takes_room_and_one_by_filters_needs_none(shop, blobs):
    room = SearchRoom(capacity=4, patience_seconds=0.05)
    ranks = Ranks(neighbours=shop.neighbours, blobs=blobs, fetcher=None)
    searches = Searches(db=shop.db, neighbours=shop.neighbours, ranks=ranks, room=room)
    shop.add(**{name: plain(colour) for name, colour in COLOURS.items()})
    shop.work()
    like_red = resources_pb2.Rank(annotation=resources_pb2.Annotation(input_id="red"))
    ranked = resources_pb2.Search(query=resources_pb2.Query(ranks=[like_red]))
    with room.taken(2):
        assert searches.run(shop.ref, ranked, Paging(1, 2), "inputs")[0].input.id == "red"
        with pytest.raises(Busy):
            searches.run(shop.ref, ranked, Paging(1, 3), "inputs")
        with pytest.raises(Busy):
            searches.count(shop.ref, ranked, "inputs")
        assert len(searches.run(shop.ref, resources_pb2.Search(), Paging(1, 100), "inputs")) == 4
    assert searches.count(shop.ref, ranked, "inputs") == 4
    assert searches.run(shop.ref, ranked, Paging(100_000, 100), "inputs") == [], "held against what there can be"
