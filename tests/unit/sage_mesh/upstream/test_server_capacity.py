"""The pages on which servers say what they take, as each product writes them, and as they should not be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_mesh.upstream.server_capacity import (
    CAPACITY_PAGES,
    MOST_REQUESTS,
    MOST_TOKENS,
    ServerCapacity,
    read_capacity,
)

PROPS, GET_INFO, SERVER_INFO, INFO = CAPACITY_PAGES
LLAMACPP = {
    "default_generation_settings": {"params": {"n_predict": -1}, "n_ctx": 4096},
    "total_slots": 4,
    "model_alias": "a-model",
    "build_info": "b8681",
}
LLAMACPP_ROUTER = {"role": "router", "max_instances": 4, "default_generation_settings": {"n_ctx": 0}}
SGLANG = {"model_path": "a/model", "max_running_requests": None, "max_total_num_tokens": 20480, "version": "0.5.2"}
SGLANG_STATE = {"last_gen_throughput": 1.5, "effective_max_running_requests_per_dp": 128}
TGI = {
    "model_id": "a/model",
    "max_concurrent_requests": 128,
    "max_input_tokens": 4095,
    "max_total_tokens": 4096,
    "max_client_batch_size": 4,
    "router": "text-generation-router",
    "version": "3.0.0",
}
TEI = {
    "model_id": "a/model",
    "model_type": {"embedding": {"pooling": "cls"}},
    "max_concurrent_requests": 512,
    "max_batch_tokens": 16384,
    "max_batch_requests": None,
    "max_client_batch_size": 32,
    "version": "1.8.0",
}
VLLM = {"vllm_config": {"scheduler_config": {"max_num_seqs": 64}, "parallel_config": {"data_parallel_size": 2}}}


@pytest.mark.parametrize(
    ("path", "page", "expected"),
    [
        (PROPS, LLAMACPP, ServerCapacity(4)),
        (PROPS, LLAMACPP_ROUTER, None),
        (GET_INFO, {**SGLANG, "internal_states": [SGLANG_STATE]}, ServerCapacity(128, tokens=20480)),
        (GET_INFO, {**SGLANG, "internal_states": [SGLANG_STATE] * 2}, ServerCapacity(256, tokens=40960)),
        (SERVER_INFO, {"internal_states": SGLANG_STATE}, ServerCapacity(128)),
        (GET_INFO, {**SGLANG, "max_running_requests": 48}, ServerCapacity(48, tokens=20480)),
        (GET_INFO, {"internal_states": [{"max_running_requests": 48}]}, ServerCapacity(48)),
        (GET_INFO, {"server_args": {"max_running_requests": 48}}, ServerCapacity(48)),
        (GET_INFO, {"server_args": {}, "scheduler_info": {"max_running_requests": 48}}, ServerCapacity(48)),
        (GET_INFO, SGLANG, None),
        (SERVER_INFO, VLLM, ServerCapacity(128)),
        (SERVER_INFO, {"vllm_config": {"scheduler_config": {"max_num_seqs": 64}}}, ServerCapacity(64)),
        (SERVER_INFO, {"vllm_config": "model='a/model', max_seq_len=4096"}, None),
        (INFO, TGI, ServerCapacity(None, 128)),
        (INFO, {**TGI, "max_batch_size": 16, "max_batch_total_tokens": 30000}, ServerCapacity(16, 128, 30000)),
        (INFO, TEI, ServerCapacity(None, 512, 32768)),
        (INFO, {**TEI, "max_batch_requests": 4}, ServerCapacity(8, 512, 32768)),
        (INFO, {**TEI, "max_batch_requests": 4, "max_concurrent_requests": 6}, ServerCapacity(6, 6, 32768)),
        (INFO, {"name": "some service", "max_concurrent_requests": 3}, None),
    ],
)
def test_each_product_is_read(path: str, page: dict[str, Any], expected: ServerCapacity | None) -> None:
    assert read_capacity(path, orjson.dumps(page)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), ("7", 7), (" 7 ", 7), (7.0, 7), (MOST_REQUESTS, MOST_REQUESTS)]
    + [(odd, None) for odd in (0, -1, None, "auto", "", True, 7.5, [7], {"n": 7}, 2**63, "²")],
)
def test_a_value_that_is_no_number_of_requests_says_nothing(value: object, expected: int | None) -> None:
    found = read_capacity(PROPS, orjson.dumps({"total_slots": value}))
    assert (found and found.seats) == expected
    found = read_capacity(GET_INFO, orjson.dumps({"internal_states": [], "max_running_requests": value}))
    assert (found and found.seats) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"4", b"null", b'"total_slots"', b'{"total_slots": 4'])
@pytest.mark.parametrize("path", CAPACITY_PAGES)
def test_a_page_that_is_no_object_says_nothing(path: str, body: bytes) -> None:
    assert read_capacity(path, body) is None


NAMES = (
    *("total_slots", "internal_states", "effective_max_running_requests_per_dp", "max_running_requests"),
    *("server_args", "scheduler_info", "max_total_num_tokens", "vllm_config", "scheduler_config", "max_num_seqs"),
    *("parallel_config", "data_parallel_size", "model_id", "max_concurrent_requests", "max_batch_requests"),
    *("max_batch_tokens", "max_batch_size", "max_batch_total_tokens"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**63) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from(list(CAPACITY_PAGES)), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
@settings(max_examples=400, derandomize=True)
def test_whatever_a_page_holds_the_numbers_fit(path: str, page: dict[str, Any]) -> None:
    found = read_capacity(path, orjson.dumps(page))
    if found is not None:
        assert found != ServerCapacity()
        assert all(1 <= number <= MOST_TOKENS for number in (found.seats, found.admitted, found.tokens) if number)
