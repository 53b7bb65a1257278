"""The simulated engine over HTTP: what it says, what it records, and how it fails on demand."""

from __future__ import annotations

import asyncio
import base64
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.eventually import eventually

from sage_benchmark.simulated_engine.answer_text import answer_text, marker
from sage_benchmark.simulated_engine.engine import SimulatedEngine
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.simulated_engine.engine_record import read_journal
from sage_control_plane.request.features import request_features
from sage_mesh.openai_answer import TextDelta, read_delta
from sage_mesh.sse import DONE, SseParser

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def chat_body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "llm", "messages": [{"role": "user", "content": text}], **fields}


def body_of(path: str, text: str, said: str = "", **fields: Any) -> dict[str, Any]:
    """A streaming request; with ``said``, the one that goes on behind it."""
    stream = {"stream": True, "stream_options": {"include_usage": True}, **fields}
    if path == COMPLETIONS:
        return {"model": "llm", "prompt": f"{text}\n{said}", **stream}
    if not said:
        return chat_body(text, **stream)
    body = chat_body(text, **stream, continue_final_message=True, add_generation_prompt=False)
    body["messages"].append({"role": "assistant", "content": said})
    return body


def pieces_of(data: bytes) -> tuple[list[TextDelta], bool]:
    """The pieces of a stream and whether it ended as it should."""
    events = [event.data for event in SseParser().feed(data)]
    done = bool(events) and events[-1] == DONE
    return [read_delta(data) for data in events if data != DONE], done


async def stream(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> list[TextDelta]:
    async with http.post(path, json=body) as response:
        assert response.status == 200, await response.text()
        pieces, done = pieces_of(await response.read())
    assert done
    return pieces


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_an_answer_is_streamed_token_by_token_and_names_its_request(
    engine: SimulatedEngine, http: aiohttp.ClientSession, path: str
) -> None:
    pieces = await stream(http, path, body_of(path, marker("abc", 4), max_tokens=10))
    assert [piece.text for piece in pieces] == ["abc.0 ", "abc.1 ", "abc.2 ", "abc.3 ", ""]
    assert [piece.finish_reason for piece in pieces] == ["", "", "", "stop", ""]
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == 4
    entry = engine.record.entries[-1]
    assert (entry.text, entry.state) == (answer_text("abc", 0, 4), "complete")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("marked", [True, False])
async def test_a_continued_answer_goes_on_with_the_very_tokens_that_were_left(
    http: aiohttp.ClientSession, path: str, marked: bool
) -> None:
    text = marker("abc", 9) if marked else "what is love?"
    whole = await stream(http, path, body_of(path, text, max_tokens=9))
    said = "".join(piece.text for piece in whole[:4])
    rest = await stream(http, path, body_of(path, text, said, max_tokens=5))
    assert said + "".join(p.text for p in rest) == "".join(p.text for p in whole)
    assert rest[-1].usage is not None
    assert whole[-1].usage is not None
    assert rest[-1].usage.completion_tokens == 5
    assert rest[-1].usage.prompt_tokens == whole[-1].usage.prompt_tokens + 4, "what was said is four tokens"
    assert rest[-2].finish_reason == whole[-2].finish_reason == "length"


async def test_an_answer_that_was_all_said_ends_at_once(http: aiohttp.ClientSession) -> None:
    pieces = await stream(http, CHAT, body_of(CHAT, marker("abc", 3), "abc.0 abc.1 abc.2 ", max_tokens=7))
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("", "stop"), ("", "")]


async def test_a_continuation_needs_what_vllm_needs(http: aiohttp.ClientSession) -> None:
    body = body_of(CHAT, "hi", "abc.0 ") | {"add_generation_prompt": True}
    async with http.post(CHAT, json=body) as response:
        assert response.status == 400
    async with http.post(CHAT, json=chat_body(continue_final_message=True, add_generation_prompt=False)) as response:
        assert response.status == 400
        assert "assistant" in (await response.json())["error"]["message"]


@pytest.mark.parametrize(
    ("header", "fields", "text", "tokens", "reason"),
    [
        ("5", {"sim_output_tokens": 4, "max_tokens": 9}, marker("a", 3), 5, "stop"),
        (None, {"sim_output_tokens": 4, "max_tokens": 9}, marker("a", 3), 4, "stop"),
        (None, {"max_tokens": 9}, marker("a", 3), 3, "stop"),
        (None, {"max_tokens": 2}, marker("a", 3), 2, "length"),
        (None, {"max_tokens": 2}, "plain", 2, "length"),
        (None, {}, "plain", 16, "length"),
    ],
)
async def test_the_length_is_the_headers_the_fields_the_markers_or_max_tokens(
    http: aiohttp.ClientSession, header: str | None, fields: dict[str, Any], text: str, tokens: int, reason: str
) -> None:
    headers = {"x-sim-output-tokens": header} if header else {}
    async with http.post(CHAT, json=chat_body(text, **fields), headers=headers) as response:
        value = await response.json()
    assert value["usage"]["completion_tokens"] == tokens
    assert value["choices"][0]["finish_reason"] == reason
    assert len(value["choices"][0]["message"]["content"].split()) == tokens


async def test_embeddings_are_the_same_for_the_same_text_in_both_encodings(http: aiohttp.ClientSession) -> None:
    async def embed(**fields: Any) -> list[Any]:
        body = {"model": "embedder", "input": ["one", "two", "one"], **fields}
        async with http.post("/v1/embeddings", json=body) as response:
            assert response.status == 200
            return [entry["embedding"] for entry in (await response.json())["data"]]

    one, two, again = await embed()
    assert one == again != two
    assert len(one) == 384
    assert sum(x * x for x in one) == pytest.approx(1, abs=1e-5)
    packed = base64.b64decode((await embed(encoding_format="base64", dimensions=8))[0])
    assert list(struct.unpack("<8f", packed)) == pytest.approx((await embed(dimensions=8))[0])


async def test_both_kinds_are_listed_and_other_models_are_not_served(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/models") as response:
        assert [entry["id"] for entry in (await response.json())["data"]] == ["llm", "embedder"]
    for path, body in (
        (CHAT, chat_body() | {"model": "embedder"}),
        ("/v1/embeddings", {"model": "llm", "input": "a"}),
        ("/v1/nothing", {}),
    ):
        async with http.post(path, json=body) as response:
            assert response.status == 404
    async with http.post(CHAT, json=chat_body(max_tokens=300_000)) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "context_length_exceeded")


async def test_metrics_have_vllms_names(http: aiohttp.ClientSession) -> None:
    await stream(http, CHAT, body_of(CHAT, marker("abc", 4)))
    async with http.get("/metrics") as response:
        text = await response.text()
    for line in (
        'vllm:num_requests_running{engine="0",model_name="llm"} 0.0',
        'vllm:num_requests_waiting{engine="0",model_name="llm"} 0.0',
        'vllm:kv_cache_usage_perc{engine="0",model_name="llm"} 0.0',
        'vllm:time_to_first_token_seconds_count{engine="0",model_name="llm"} 1.0',
        'vllm:inter_token_latency_seconds_count{engine="0",model_name="llm"} 3.0',
        'vllm:request_time_per_output_token_seconds_count{engine="0",model_name="llm"} 1.0',
        'vllm:generation_tokens_total{engine="0",model_name="llm"} 4.0',
        'num_gpu_blocks="8192"} 1.0',
    ):
        assert line in text


async def test_a_client_that_leaves_frees_its_sequence(engine: SimulatedEngine, http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, json=body_of(CHAT, marker("abc", 100_000))) as response:
        await response.content.readany()
        response.close()
    await eventually(lambda: engine.record.entries[-1].state == "cancelled")
    async with http.get("/metrics") as response:
        assert 'vllm:num_requests_running{engine="0",model_name="llm"} 0.0' in await response.text()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_what_was_computed_of_an_answer_whose_client_left_is_cached_for_its_continuation(
    engine: SimulatedEngine, http: aiohttp.ClientSession, path: str
) -> None:
    text = marker("abc", 100_000)
    async with http.post(path, json=body_of(path, text)) as response:
        await response.content.readany()
        await eventually(lambda: engine.record.entries[-1].until >= 200)
        response.close()
    await eventually(lambda: engine.record.entries[-1].state == "cancelled")
    said = answer_text("abc", 0, 150)
    body = body_of(path, text, said, max_tokens=2, return_progress=True)
    async with http.post(path, json=body) as response:
        events = [event.data for event in SseParser().feed(await response.read())]
    progress = orjson.loads(events[0])["prompt_progress"]
    usage = orjson.loads(events[-2])["usage"]
    assert progress["total"] == usage["prompt_tokens"] > 150
    assert progress["cache"] == usage["prompt_tokens_details"]["cached_tokens"] >= 128


async def test_an_answer_is_cached_for_the_question_that_follows_it(
    engine: SimulatedEngine, http: aiohttp.ClientSession
) -> None:
    body = chat_body("[sim abc]", stream=True, max_tokens=150)
    await stream(http, CHAT, body)
    body["messages"] += [
        {"role": "assistant", "content": answer_text("abc", 0, 150)},
        {"role": "user", "content": "and then?"},
    ]
    body["stream_options"] = {"include_usage": True}
    async with http.post(CHAT, json=body) as response:
        events = [event.data for event in SseParser().feed(await response.read())]
    usage = orjson.loads(events[-2])["usage"]
    whole_blocks = len(f"user.[sim abc].assistant.{answer_text('abc', 0, 150)}") // 256
    assert usage["prompt_tokens_details"]["cached_tokens"] == 64 * whole_blocks > 128


async def test_the_record_over_http_and_the_journal_are_what_clients_got(
    engine: SimulatedEngine, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    bodies = [body_of(CHAT, marker(f"r{index}", 5 + index)) for index in range(20)]
    answers = await asyncio.gather(*(stream(http, CHAT, body) for body in bodies))
    got = {"".join(piece.text for piece in pieces) for pieces in answers}
    async with http.get("/sim/record") as response:
        recorded = (await response.json())["requests"]
    assert {entry["text"] for entry in recorded} == got
    assert read_journal(tmp_path / "journal") == engine.record.entries


async def test_a_request_is_cut_off_after_so_many_tokens_and_the_next_is_not(
    engine: SimulatedEngine, http: aiohttp.ClientSession
) -> None:
    await set_faults(http, die_after_tokens=3, die_requests=1)
    with pytest.raises(aiohttp.ClientError):
        await stream(http, CHAT, body_of(CHAT, marker("abc", 10)))
    entry = engine.record.entries[-1]
    assert (entry.text, entry.state) == (answer_text("abc", 0, 3), "cut_off")
    assert len(await stream(http, CHAT, body_of(CHAT, marker("abc", 10)))) == 11


async def test_a_share_of_requests_gets_an_error_and_the_seed_says_which(http: aiohttp.ClientSession) -> None:
    async def statuses() -> list[int]:
        await set_faults(http, error_rate=0.5, error_status=503, seed=7)
        found = []
        for _ in range(40):
            async with http.post(CHAT, json=chat_body(max_tokens=1)) as response:
                found.append(response.status)
        return found

    first = await statuses()
    assert set(first) == {200, 503}
    assert 10 <= first.count(503) <= 30
    assert await statuses() == first


async def test_a_stalled_engine_is_silent_and_then_goes_on(http: aiohttp.ClientSession) -> None:
    await set_faults(http, stall_seconds=0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await stream(http, CHAT, body_of(CHAT, marker("abc", 2)))
    assert loop.time() - began > 0.15


async def test_a_slow_engine_takes_its_factor(engine: SimulatedEngine, http: aiohttp.ClientSession) -> None:
    await set_faults(http, slowdown=20.0)
    await stream(http, CHAT, body_of(CHAT, marker("abc", 11)))
    entry = engine.record.entries[-1]
    assert entry.finished_at - entry.received_at >= 10 * 0.02


async def test_connections_are_refused_for_a_while(engine: SimulatedEngine, http: aiohttp.ClientSession) -> None:
    await set_faults(http, refuse_seconds=0.1)
    with pytest.raises(aiohttp.ClientConnectionError):
        async with http.get("/health"):
            pass

    async def listens() -> bool:
        try:
            async with http.get("/health") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    await eventually(listens)


@pytest.mark.parametrize(
    ("fault", "named"),
    [({"slow": 2}, "slow"), ({"error_rate": 2}, "error_rate"), ({"die_how": "softly"}, "die_how"), ([], "object")],
)
async def test_a_wrong_fault_is_refused_by_name(http: aiohttp.ClientSession, fault: Any, named: str) -> None:
    async with http.post("/sim/faults", json=fault) as response:
        assert response.status == 400
        assert named in (await response.json())["error"]["message"]


async def set_faults(http: aiohttp.ClientSession, **faults: Any) -> None:
    async with http.post("/sim/faults", json=faults) as response:
        assert response.status == 200, await response.text()


@pytest.mark.parametrize("how", ["exit", "kill"])
async def test_a_dead_program_leaves_a_journal_of_all_that_it_sent(tmp_path: Path, how: str) -> None:
    journal = tmp_path / "journal"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sage_benchmark.simulated_engine", "--model", "llm", "--journal", str(journal)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    got: list[bytes] = []

    async def read_until_it_dies(http: aiohttp.ClientSession) -> None:
        async with http.post(CHAT, json=body_of(CHAT, marker("abc", 5000))) as response:
            async for piece in response.content.iter_any():
                got.append(piece)
                if how == "kill" and len(got) == 10:
                    process.send_signal(signal.SIGKILL)

    async with aiohttp.ClientSession(base_url=url) as http:
        if how == "exit":
            await set_faults(http, die_after_tokens=20, die_how="exit")
        with pytest.raises(aiohttp.ClientError):
            await read_until_it_dies(http)
    assert await process.wait() == (70 if how == "exit" else -signal.SIGKILL)
    text = "".join(piece.text for piece in pieces_of(b"".join(got))[0])
    (entry,) = read_journal(journal)
    assert entry.text.startswith(text)
    assert text.startswith("abc.0 abc.1 ")


@pytest.mark.parametrize(("tells", "status"), [(True, 200), (False, 404)])
async def test_it_says_what_it_computes_at_once_only_where_it_is_to(tells: bool, status: int) -> None:
    config = EngineModelConfig(max_num_seqs=7)
    engine = SimulatedEngine(SimulatedModels(), config, request_features, tells_capacity=tells)
    await engine.start()
    async with aiohttp.ClientSession(base_url=engine.url) as http, http.get("/props") as response:
        assert response.status == status
        if tells:
            assert await response.json() == {"total_slots": 7}
    engine.close()
