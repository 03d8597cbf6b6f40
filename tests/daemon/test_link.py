"""Whatever is sent over a link arrives, whole and once; small messages pass large ones, and nothing floods it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamd.link import MOST, PART, WINDOW, Link, LinkError
from dreamwire.messages import Array, Cancelled, Message, Ping, PreviewIs, Submit

#: Bytes of the largest message in these tests.
LARGEST = 4 << 20


def preview(step: int, side: int = 200, job: str = "a" * 36) -> PreviewIs:
    pixels = bytes([step]) * (side * side * 3)
    array = Array("preview", 0, "uint8", (side, side, 3), "srgb")
    return PreviewIs(job=job, step=step, array=array, box=(0, 0, side, side), frames=(pixels,))


def sent(link: Link, *, limit: int | None = None) -> list[list[bytes]]:
    """What a link sends now, as it would come to the other side; `limit` is how many messages of ZeroMQ."""
    due = link.due()
    parts = []
    for each in due:
        parts.append([bytes(part) for part in each])
        if limit is not None and len(parts) == limit:
            break
    return parts


def exchanged(one: Link, other: Link) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """All that both sides get when everything is passed on, until nothing more is to be sent."""
    got: tuple[list[list[bytes]], list[list[bytes]]] = ([], [])
    moved = True
    while moved:
        moved = False
        for source, sink, whole in ((one, other, got[1]), (other, one, got[0])):
            for parts in sent(source):
                moved = True
                assert sum(map(len, parts)) <= MOST
                message = sink.take(parts)
                if message is not None:
                    whole.append([bytes(frame) for frame in message])
    return got


frames = st.lists(st.integers(0, 700_000) | st.integers(0, 50), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(frames, max_size=6), st.lists(frames, max_size=3))
def test_all_messages_arrive_whole_and_once_each_way(out: list[list[int]], back: list[list[int]]) -> None:
    one, other = Link(8 << 20), Link(8 << 20)
    wanted: list[list[list[bytes]]] = []
    for link, sizes in ((one, out), (other, back)):
        messages = [
            [bytes([number, place]) * (size // 2) + bytes(size % 2) for place, size in enumerate(each)]
            for number, each in enumerate(sizes)
        ]
        for message in messages:
            link.put(message, None)
        wanted.append(messages)
    came_back, arrived = exchanged(one, other)
    assert sorted(arrived) == sorted(wanted[0])
    assert sorted(came_back) == sorted(wanted[1])


def test_no_more_is_under_way_than_the_window_until_some_has_been_taken() -> None:
    one, other = Link(LARGEST), Link(LARGEST)
    one.put([b"head", bytes(3 << 20)], None)
    parts = sent(one)
    assert sum(len(piece) for part in parts[1:] for piece in part[1:]) == WINDOW
    assert not sent(one)
    for each in parts:
        other.take(each)
    assert not sent_without_room(other), "who has no room asks for nothing"
    for each in sent(other):
        one.take(each)
    assert sent(one)


def sent_without_room(link: Link) -> list[Any]:
    return list(link.due(room=False))


def test_a_ping_passes_a_picture() -> None:
    one, other = Link(LARGEST), Link(LARGEST)
    one.put([b"head", bytes(2 << 20)], None)
    first = sent(one, limit=4)
    one.put([b"ping"], Ping())
    assert sent(one, limit=1) == [[b"m", b"ping"]]
    for each in first:
        assert other.take(each) is None
    _, arrived = exchanged(one, other)
    assert len(arrived) == 1
    assert len(arrived[0][1]) == 2 << 20


def test_a_newer_preview_replaces_one_that_waits_and_none_follows_the_end() -> None:
    one, other = Link(LARGEST), Link(LARGEST)
    for step in (1, 2, 3):
        message = preview(step)
        one.put([b"head%d" % step, message.frames[0]], message)
    _, arrived = exchanged(one, other)
    assert [message[0] for message in arrived] == [b"head3"]

    message = preview(4)
    one.put([b"head4", message.frames[0]], message)
    begun = sent(one, limit=2)  # a part of it is away
    one.put([b"end"], Cancelled(job=message.job))
    for each in begun:
        assert other.take(each) is None
    _, arrived = exchanged(one, other)
    assert arrived == [[b"end"]]
    one.put([b"more", bytes(PART * 2)], None)
    _, arrived = exchanged(one, other)
    assert len(arrived[0][1]) == PART * 2


def test_what_is_withdrawn_never_arrives() -> None:
    one, other = Link(LARGEST), Link(LARGEST)
    array = Array("image", 0, "uint8", (256, 256, 3), "srgb")
    submit = Submit(job="b" * 36, kind="dream", params={}, inputs=(array,), frames=(bytes(256 * 256 * 3),))
    one.put([b"head", submit.frames[0]], submit)
    for each in sent(one, limit=3):
        other.take(each)

    def is_it(message: Message) -> bool:
        return isinstance(message, Submit) and message.job == submit.job

    assert one.withdraw(is_it)
    assert not one.withdraw(is_it)
    assert exchanged(one, other) == ([], [])


@pytest.mark.parametrize(
    "parts",
    [
        [b""], [b"z"], [b"m"], [b"mm", b"x"], [b"p", b"x"], [b"d"], [b"c"], [b"c123"], [b"c12345"], [b"b"],
        [b"b1234567"], [b"b" + (1 << 20).to_bytes(8, "little")],
        [b"b" + 2 * (1 << 62).to_bytes(8, "little")],
        [b"b" + 40 * (1 << 16).to_bytes(8, "little")],
        [b"b" + 2 * (1).to_bytes(8, "little")],
        [b"x" + b"Your key was revoked."],
    ],
)  # fmt: skip
def test_what_does_not_keep_to_it_ends_it_before_memory_is_taken(parts: list[bytes]) -> None:
    with pytest.raises(LinkError):
        Link(LARGEST).take(parts)


def test_more_than_was_told_ends_it() -> None:
    link = Link(LARGEST)
    link.take([b"b" + b"".join(size.to_bytes(8, "little") for size in (PART, 10))])
    link.take([b"p", bytes(PART)])
    with pytest.raises(LinkError, match="more than it has told"):
        link.take([b"p", bytes(11)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), max_size=12))
def test_rubbish_is_refused_or_harmless(messages: list[list[bytes]]) -> None:
    link = Link(LARGEST)
    with contextlib.suppress(LinkError):
        for message in messages:
            link.take(message)
    list(link.due())
