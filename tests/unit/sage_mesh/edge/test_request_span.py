"""The span of a request at its edge: what it tells of a request that broke, was interrupted, and ended."""

from __future__ import annotations

import pytest

from sage.inference.v1 import request_pb2
from sage_common.errors import EngineFailedError
from sage_common.trace_context import is_sampled
from sage_mesh.edge.request_span import UNRECORDED, open_request_span
from sage_mesh.reply import EngineTime, Media, Reply, ReplyHead, TokenUsage
from sage_platform.tracing.kept_spans import KeptSpans
from sage_platform.tracing.tracer import Tracer


def message(traceparent: str = "") -> request_pb2.InferenceRequest:
    return request_pb2.InferenceRequest(
        request_id="r", correlation_id="mine", tenant="team-a", endpoint=1, traceparent=traceparent, body=b"secret"
    )


def reply() -> Reply:
    return Reply("r", lambda error: None)


def test_a_request_tells_what_became_of_it() -> None:
    kept = KeptSpans(10)
    sent, answer = message(), reply()
    span = open_request_span(Tracer("gateway", "gateway-1", 1.0, [kept]), sent)
    span.on_head(head := ReplyHead(Media.JSON, "engine-0", 1.5, 1, "talks"))
    span.on_resubmitted("resubmitted", "engine-0", "stream_interrupted")
    span.on_resubmitted("interrupted", "engine-1", "its seat is needed")
    span.on_head(head.with_tries(3))
    answer.begin(head.with_tries(3))
    answer.end(TokenUsage(7, 2, engine_time=EngineTime(inference_us=33)))
    span.end(answer)

    (told,) = kept.find("mine")
    assert told.name == "chat talks"
    assert [event.name for event in told.events] == ["first_token", "resubmitted", "interrupted", "first_token"]
    assert told.attributes is not None
    expected = {
        "sage.request_id": "r",
        "sage.tenant": "team-a",
        "sage.tries": 3,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "sage.engine.inference_us": 33,
    }
    assert expected.items() <= told.attributes.items()
    # What is not known is not told as nothing.
    assert "gen_ai.usage.cache_read.input_tokens" not in told.attributes
    assert "secret" not in told.to_json()
    assert is_sampled(sent.traceparent)


def test_an_error_is_told_by_its_code_alone() -> None:
    kept = KeptSpans(10)
    span = open_request_span(Tracer("gateway", "gateway-1", 1.0, [kept]), message())
    span.fail(EngineFailedError("it said: secret", code="engine_failed"))
    span.end(reply())
    (told,) = kept.find("r")
    assert (told.attributes or {})["error.type"] == "engine_failed"
    assert "secret" not in told.to_json()


@pytest.mark.parametrize("traced", [False, True])
def test_a_request_that_is_not_recorded_has_no_span_but_a_context_where_others_have(traced: bool) -> None:
    sent = message()
    tracer = Tracer("gateway", "gateway-1", 0.0, []) if traced else None
    assert open_request_span(tracer, sent) is UNRECORDED
    assert bool(sent.traceparent) is traced
