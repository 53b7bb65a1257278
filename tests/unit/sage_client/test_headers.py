from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_client.headers import (
    ResponseMetadata,
    hints_from_headers,
    hints_to_headers,
    metadata_from_headers,
    milliseconds,
)
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.request import Hints, Priority, ServiceClass

ms = st.integers(0, 2**32 - 1)


@given(
    st.builds(
        Hints,
        st.none() | st.sampled_from(Priority),
        st.none() | st.sampled_from(ServiceClass),
        slo_ttft_ms=ms,
        slo_tpot_ms=ms,
        slo_deadline_ms=ms,
    )
)
def test_hints_come_back_as_they_went(hints: Hints) -> None:
    assert hints_from_headers(hints_to_headers(hints)) == hints


def test_clients_of_the_original_may_say_the_kind_instead_of_the_class() -> None:
    assert hints_from_headers({"x-request-type": "llm_chat"}).service_class is ServiceClass.INTERACTIVE
    assert hints_from_headers({"x-request-type": " Embedding "}).service_class is ServiceClass.EMBEDDING


@pytest.mark.parametrize("value", ["", "0", "-1", "+1", "1.0", "1e3", "x", "４", "4294967296", "1" * 5000])
def test_what_is_no_count_of_milliseconds_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="x-slo-ttft-ms"):
        milliseconds({"x-slo-ttft-ms": value}, "x-slo-ttft-ms")


def test_an_unknown_choice_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="critical, high, normal, low, background; got 'asap'"):
        hints_from_headers({"x-request-priority": "asap"})


def test_a_trail_is_read_and_a_foreign_servers_is_empty() -> None:
    headers = {"x-request-id": "r", "x-sage-engine": "e", "x-sage-queue-ms": "1.5", "x-sage-attempts": "2"}
    assert metadata_from_headers(headers) == ResponseMetadata("r", "e", 1.5, 2)
    assert metadata_from_headers({}) == ResponseMetadata()
    assert metadata_from_headers({"x-sage-queue-ms": "soon"}) == ResponseMetadata()
