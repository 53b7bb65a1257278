"""Keys by session."""

from __future__ import annotations

import pytest
from fixtures.manual_clock import ManualClock
from starlette.requests import Request

from sage_studio.sessions import MOST_SESSIONS, Sessions, cookie_name


def test_a_key_is_kept_for_its_time_and_until_it_is_taken_back() -> None:
    clock = ManualClock()
    sessions = Sessions(clock, 60.0)
    name, other = sessions.begin("k-1"), sessions.begin("k-2")
    assert name != other
    assert [sessions.key(one) for one in (name, other, "x", None)] == ["k-1", "k-2", None, None]
    sessions.end(other)
    assert sessions.key(other) is None
    clock.advance(60.0)
    assert sessions.key(name) is None


def test_the_oldest_of_too_many_sessions_is_forgotten() -> None:
    sessions = Sessions(ManualClock(), 60.0)
    first = sessions.begin("k")
    latest = [sessions.begin("k") for _ in range(MOST_SESSIONS)]
    assert sessions.key(first) is None
    assert all(sessions.key(name) == "k" for name in latest)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8889", "sage-studio-session-8889"),
        ("localhost:8890", "sage-studio-session-8890"),
        ("studio.example", "sage-studio-session"),
        ("localhost:99999", "sage-studio-session"),
    ],
)
def test_studios_at_two_ports_of_a_host_have_cookies_of_their_own(host: str, name: str) -> None:
    headers = [(b"host", host.encode())]
    scope = {"type": "http", "scheme": "http", "path": "/", "query_string": b"", "headers": headers}
    assert cookie_name(Request(scope)) == name
