"""Reading event streams that are cut anywhere."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.sse import SseEvent, SseFramer, SseParser

LINE = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream with every kind of line end, comments, types and several data lines."""
    end = st.sampled_from(["\n", "\r\n", "\r"])
    text = draw(st.sampled_from(["", "\ufeff"]))
    for lines in draw(st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=5)):
        kind = draw(st.sampled_from(["", "delta"]))
        if draw(st.booleans()):
            text += f": a comment{draw(end)}"
        if kind:
            text += f"event:{kind}{draw(end)}"
        for line in lines:
            text += f"data: {line}{draw(end)}"
        text += draw(end)
    return text.encode()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@given(streams(), st.lists(st.integers(min_value=0), max_size=12))
def test_the_events_do_not_depend_on_where_the_stream_is_cut(data: bytes, places: list[int]) -> None:
    whole = SseParser().feed(data)
    parser = SseParser()
    assert [event for piece in cut(data, places) for event in parser.feed(piece)] == whole


@given(st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_event_that_was_written_is_read(events: list[list[str]], end: str) -> None:
    text = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in events)
    parser = SseParser()
    read = [event for byte in text.encode() for event in parser.feed(bytes([byte]))]
    assert read == [SseEvent("\n".join(lines)) for lines in events]


def test_an_event_leaves_the_parser_with_its_last_byte_although_an_lf_might_follow() -> None:
    parser = SseParser()
    assert parser.feed(b"data: x\r\r") == [SseEvent("x")]
    assert parser.feed(b"\ndata: y\r\n\r\n") == [SseEvent("y")]


def test_a_character_cut_in_two_is_read_whole() -> None:
    data = "data: ä€😀\n\n".encode()
    for place in range(len(data)):
        parser = SseParser()
        assert parser.feed(data[:place]) + parser.feed(data[place:]) == [SseEvent("ä€😀")]


def test_comments_unknown_fields_and_events_without_data_give_nothing() -> None:
    assert SseParser().feed(b": ping\n\nid: 3\nretry: 10\n\nevent: x\n\nnonsense\n\n") == []


def test_an_event_that_the_end_cuts_short_is_dropped() -> None:
    assert SseParser().feed(b"data: whole\n\ndata: half\n") == [SseEvent("whole")]


def test_whole_events_pass_at_once() -> None:
    events = SseFramer()
    assert events.feed(b"data: 1\n\n") == b"data: 1\n\n"
    assert events.feed(b"data: 2\n\ndata: 3\n\n") == b"data: 2\n\ndata: 3\n\n"
    assert events.rest() == b""


def test_the_start_of_an_unfinished_event_is_held_back() -> None:
    events = SseFramer()
    assert events.feed(b"data: 1\n\ndat") == b"data: 1\n\n"
    assert events.feed(b"a: 2\n") == b""
    assert events.feed(b"\n") == b"data: 2\n\n"


@given(
    st.lists(st.text("ab \n\r", max_size=12), max_size=8),
    st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]),
    st.data(),
)
def test_nothing_is_lost_or_reordered_wherever_it_is_cut(texts: list[str], end: str, data: st.DataObject) -> None:
    stream = "".join(text + end for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    events = SseFramer()
    seen = b""
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        whole = events.feed(stream[start:stop])
        assert not whole or whole.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        seen += whole
    assert seen + events.rest() == stream
