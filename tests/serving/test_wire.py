"""Messages between our processes: whole, bounded, and no code in them."""

import socket
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lehr import errors
from lehr.serving import wire


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@given(parts=st.lists(st.binary(max_size=200), max_size=5), header=st.dictionaries(st.text(), st.integers()))
def test_what_is_sent_is_received(parts, header):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, header, *parts)
        received, payload = wire.receive(theirs, max_bytes=1000)
    assert (received, payload.tobytes()) == (header, b"".join(parts))


def test_arrays_travel_whatever_their_layout(pair):
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3).transpose(1, 0, 2)
    wire.send(pair[0], {}, array, np.empty((0, 3), np.uint8))
    assert wire.receive(pair[1], max_bytes=24)[1].tobytes() == array.tobytes()


def test_a_message_larger_than_expected_is_not_read(pair):
    wire.send(pair[0], {}, bytes(11))
    with pytest.raises(wire.HangUpError, match="at most 10"):
        wire.receive(pair[1], max_bytes=10)


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff", b"null"])
def test_nonsense_is_a_hang_up(pair, text):
    pair[0].sendall(struct.pack("<IQ", len(text), 0) + text)
    with pytest.raises(wire.HangUpError):
        wire.receive(pair[1], max_bytes=10)


def test_silence_ends_at_the_deadline_and_a_close_at_once(pair):
    with pytest.raises(TimeoutError):
        wire.receive(pair[1], max_bytes=0, deadline=time.monotonic() + 0.05)
    pair[0].close()
    with pytest.raises(wire.HangUpError):
        wire.receive(pair[1], max_bytes=0)


@pytest.mark.parametrize(
    "error",
    [errors.UndecodableImage("No."), errors.Busy("Later.", code=21355), errors.InvalidParams(["a", "b"])],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_its_class_code_and_sentence(error):
    with pytest.raises(type(error)) as caught:
        wire.raise_described(wire.described(error))
    assert (caught.value.details, caught.value.code) == (error.details, error.code)


def test_an_error_that_is_none_of_ours_is_raised_as_the_root():
    with pytest.raises(errors.LehrError, match="odd"):
        wire.raise_described({"error": "annotations", "details": "odd", "code": 1})
