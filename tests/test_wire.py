"""JSON lines between processes: whole messages or an error, never a part."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire import Interrupted, PeerGone, Wire, WireTimeout


@dataclass
class Pair:
    """Two wires that talk to each other, and the raw write end of one direction."""

    left: Wire
    right: Wire


def connect() -> Pair:
    first, second = os.pipe(), os.pipe()
    return Pair(Wire(first[0], second[1]), Wire(second[0], first[1]))


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = connect()
    yield made
    made.left.close()
    made.right.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), min_size=1, max_size=4))
def test_messages_arrive_as_they_were_sent_and_in_order(messages: list[dict[str, object]]) -> None:
    pair = connect()
    for message in messages:
        pair.left.send(message)  # type: ignore[arg-type]
    assert [pair.right.receive(10) for _ in messages] == messages
    pair.left.close()
    pair.right.close()


@given(st.lists(st.integers(1, 30), max_size=6))
def test_a_message_may_arrive_in_any_pieces(sizes: list[int]) -> None:
    pair = connect()
    data = b'{"text":"a longer one"}\n{"b":2}\n'
    for size in sizes:
        os.write(pair.left.write_fd, data[:size])
        data = data[size:]
    if data:
        os.write(pair.left.write_fd, data)
    assert pair.right.receive(10) == {"text": "a longer one"}
    assert pair.right.receive(10) == {"b": 2}
    pair.left.close()
    pair.right.close()


def test_a_message_of_many_pipe_buffers_arrives_whole(pair: Pair) -> None:
    message = {"text": "ä" * (4 << 20)}
    sender = threading.Thread(target=pair.left.send, args=(message,))
    sender.start()
    try:
        assert pair.right.receive(60) == message
    finally:
        sender.join()


def test_a_part_of_a_message_is_not_an_answer(pair: Pair) -> None:
    os.write(pair.left.write_fd, b'{"a":1}')
    with pytest.raises(WireTimeout):
        pair.right.receive(0.01)
    os.write(pair.left.write_fd, b"\n")
    assert pair.right.receive(10) == {"a": 1}


def test_a_peer_that_goes_in_the_middle_of_a_message_is_gone(pair: Pair) -> None:
    os.write(pair.left.write_fd, b'{"a":')
    pair.left.close()
    with pytest.raises(PeerGone):
        pair.right.receive(10)


def test_what_a_peer_said_before_it_went_is_still_heard(pair: Pair) -> None:
    pair.left.send({"last": "words"})
    pair.left.close()
    assert pair.right.receive(10) == {"last": "words"}
    with pytest.raises(PeerGone):
        pair.right.receive(10)


def test_sending_to_nobody_says_that_the_peer_is_gone(pair: Pair) -> None:
    pair.right.close()
    with pytest.raises(PeerGone):
        pair.left.send({"a": 1})


@pytest.mark.parametrize("line", [b"not json\n", b"[1]\n", b"\n", b"\xff\n"])
def test_a_line_that_is_no_object_is_refused_and_the_next_one_is_heard(pair: Pair, line: bytes) -> None:
    os.write(pair.left.write_fd, line + b'{"next":1}\n')
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words vary
        pair.right.receive(10)
    assert pair.right.receive(10) == {"next": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_carry_is_refused_before_anything_is_written(pair: Pair, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        pair.left.send({"a": value})  # type: ignore[dict-item]
    pair.left.send({"b": 2})
    assert pair.right.receive(10) == {"b": 2}


def test_half_a_surrogate_pair_never_leaves_the_process(pair: Pair) -> None:
    pair.left.send({"text": "name \udc80"})
    assert pair.right.receive(10) == {"text": "name ?"}


def test_something_watched_that_becomes_ready_ends_the_wait(pair: Pair) -> None:
    read, write = os.pipe()
    os.close(write)
    try:
        with pytest.raises(Interrupted) as caught:
            pair.right.receive(60, watch=[read])
        assert caught.value.ready == {read}
    finally:
        os.close(read)


def test_a_message_counts_more_than_what_is_watched(pair: Pair) -> None:
    read, write = os.pipe()
    os.close(write)
    pair.left.send({"a": 1})
    try:
        assert pair.right.receive(60, watch=[read]) == {"a": 1}
    finally:
        os.close(read)


def test_closing_twice_leaves_a_descriptor_of_the_same_number_alone(pair: Pair) -> None:
    numbers = {pair.left.read_fd, pair.left.write_fd}
    pair.left.close()
    other = os.pipe()
    assert set(other) & numbers, "the numbers were not given out again, so this shows nothing"
    pair.left.close()
    os.write(other[1], b"x")
    assert os.read(other[0], 1) == b"x"
    for fd in other:
        os.close(fd)
