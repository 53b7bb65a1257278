"""Which streams of a server are given up."""

from __future__ import annotations

from sage_llm_coordinator.engines.open_streams import MISSED_CHECKS, OpenStream, OpenStreams


class Opened:
    """A stream among the open ones of a server, and whether its connection was closed."""

    def __init__(self, streams: OpenStreams) -> None:
        self.closed = 0
        self.stream = OpenStream(self._close)
        streams.add(self.stream)

    def _close(self) -> None:
        self.closed += 1


def miss(streams: OpenStreams, *checks: int) -> None:
    for missed in checks:
        streams.on_missed_check(missed)


def test_a_stream_that_is_silent_while_checks_are_missed_is_given_up_at_the_last_of_them() -> None:
    streams = OpenStreams()
    silent = Opened(streams)
    silent.stream.pieces += 1
    miss(streams, *range(1, MISSED_CHECKS))
    assert (silent.closed, silent.stream.given_up) == (0, False)
    miss(streams, MISSED_CHECKS)
    assert (silent.closed, silent.stream.given_up) == (1, True)


def test_one_that_brings_something_is_left_alone_until_it_falls_silent() -> None:
    streams = OpenStreams()
    flowing = Opened(streams)
    for missed in range(1, 3 * MISSED_CHECKS):
        flowing.stream.pieces += 1
        miss(streams, missed)
    assert not flowing.closed
    miss(streams, *range(3 * MISSED_CHECKS, 4 * MISSED_CHECKS - 1))
    assert flowing.closed == 1


def test_checks_that_were_answered_in_between_begin_the_count_again() -> None:
    streams = OpenStreams()
    silent = Opened(streams)
    for _ in range(3):
        miss(streams, *range(1, MISSED_CHECKS))
    assert not silent.closed


def test_one_whose_caller_does_not_keep_up_is_not_silent() -> None:
    streams = OpenStreams()
    paused = Opened(streams)
    paused.stream.paused = True
    miss(streams, *range(1, 3 * MISSED_CHECKS))
    assert not paused.closed


def test_one_that_has_ended_is_not_closed() -> None:
    streams = OpenStreams()
    ended = Opened(streams)
    streams.remove(ended.stream)
    miss(streams, *range(1, 2 * MISSED_CHECKS))
    assert not ended.closed
