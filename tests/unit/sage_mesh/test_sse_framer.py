from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.sse_framer import SseFramer


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
