"""An OpenAI-compatible engine that answers at once with the same text: the floor that a gateway is measured against.

``python -m sage_benchmark.static_engine --port 0`` prints its URL and serves ``/v1/chat/completions``,
``/v1/completions``, ``/v1/models`` and ``/health`` until it is told to end. It is no simulation: it has no latency
model, it counts nothing, and it does not read the prompt.

It speaks HTTP/1.1 on an asyncio protocol with httptools' C parser, because every microsecond it takes is charged to
the gateway under test; the answers are rendered once, at start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools
import orjson
import uvloop

MODEL = "static"
CREATED = 1_700_000_000
WORD = "word "


@dataclass(frozen=True, slots=True)
class StaticAnswer:
    """What to answer.

    Attributes:
        tokens: tokens in an answer, > 0.
        gap_ms: milliseconds between the tokens of a stream; 0 sends them all in one write.
        delay_ms: milliseconds before the first byte.
        model: name in ``/v1/models`` and in the answers; requests for any other are answered all the same.
    """

    tokens: int = 16
    gap_ms: float = 0.0
    delay_ms: float = 0.0
    model: str = MODEL

    def usage(self) -> dict[str, int]:
        """The usage that every answer reports."""
        return {"prompt_tokens": 1, "completion_tokens": self.tokens, "total_tokens": self.tokens + 1}


class RenderedAnswers:
    """Every response as bytes, ready to write."""

    def __init__(self, answer: StaticAnswer) -> None:
        self.gap_seconds = answer.gap_ms / 1000
        self.delay_seconds = answer.delay_ms / 1000
        self.whole = {chat: _json_response(_whole(answer, chat=chat)) for chat in (True, False)}
        self.stream = {
            (chat, usage): self._paced(_stream(answer, chat=chat, include_usage=usage))
            for chat in (True, False)
            for usage in (True, False)
        }
        model = {"id": answer.model, "object": "model", "created": CREATED, "owned_by": "sage"}
        models = {"object": "list", "data": [model]}
        self.models = _json_response(models)
        self.health = _response(b"200 OK", b"text/plain", b"")
        error = {"error": {"message": "no such path", "type": "invalid_request_error", "code": "not_found"}}
        self.missing = _response(b"404 Not Found", b"application/json", orjson.dumps(error))

    def _paced(self, pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return pieces if self.gap_seconds else (b"".join(pieces),)


class StaticEngineProtocol(asyncio.Protocol):
    """One connection. Requests on it are answered in order."""

    def __init__(self, answers: RenderedAnswers) -> None:
        self._answers = answers
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._url = b""
        self._body = b""
        self._pending: deque[tuple[bytes, ...]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    # httptools calls what follows.

    def on_message_begin(self) -> None:
        self._url = b""
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._pending.append(self._choose())
        if len(self._pending) == 1:
            self._begin()

    def _choose(self) -> tuple[bytes, ...]:
        answers = self._answers
        if self._url == b"/v1/chat/completions":
            chat = True
        elif self._url == b"/v1/completions":
            chat = False
        elif self._url == b"/v1/models":
            return (answers.models,)
        else:
            return (answers.health,) if self._url == b"/health" else (answers.missing,)
        body = self._body
        # Searching is enough: the programs that use this engine write JSON in one of these two ways.
        if b'"stream":true' in body or b'"stream": true' in body:
            usage = b'"include_usage":true' in body or b'"include_usage": true' in body
            return answers.stream[chat, usage]
        return (answers.whole[chat],)

    def _begin(self) -> None:
        posts = self._pending[0][0] not in (self._answers.models, self._answers.health, self._answers.missing)
        if posts and self._answers.delay_seconds:
            self._timer = self._loop.call_later(self._answers.delay_seconds, self._write, 0)
        else:
            self._write(0)

    def _write(self, position: int) -> None:
        if self._transport is None:
            return
        pieces = self._pending[0]
        self._transport.write(pieces[position])
        if position + 1 < len(pieces):
            self._timer = self._loop.call_later(self._answers.gap_seconds, self._write, position + 1)
            return
        self._pending.popleft()
        if self._pending:
            self._begin()


async def serve(host: str, port: int, answer: StaticAnswer) -> tuple[asyncio.Server, str]:
    """Serve in this process; return the server and its URL, e.g. ``http://127.0.0.1:40123``."""
    answers = RenderedAnswers(answer)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StaticEngineProtocol(answers), host, port, backlog=1024)
    return server, f"http://{host}:{server.sockets[0].getsockname()[1]}"


def _whole(answer: StaticAnswer, *, chat: bool) -> dict[str, object]:
    text = WORD * answer.tokens
    content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {
        **_common(answer, chat=chat, streaming=False),
        "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": "length"}],
        "usage": answer.usage(),
    }


def _stream(answer: StaticAnswer, *, chat: bool, include_usage: bool) -> tuple[bytes, ...]:
    """Return the pieces of a streamed response: head and first token, one piece a token, and the end with the last."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    common = _common(answer, chat=chat, streaming=True)
    pieces: list[bytes] = []
    for position in range(answer.tokens):
        content: dict[str, object] = {"delta": {"content": WORD}} if chat else {"text": WORD}
        if chat and position == 0:
            content = {"delta": {"role": "assistant", "content": WORD}}
        last = position == answer.tokens - 1
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": "length" if last else None}
        pieces.append(_event(orjson.dumps({**common, "choices": [choice]})))
    if include_usage:
        pieces[-1] += _event(orjson.dumps({**common, "choices": [], "usage": answer.usage()}))
    pieces[-1] += _event(b"[DONE]") + b"0\r\n\r\n"
    pieces[0] = head + pieces[0]
    return tuple(pieces)


def _common(answer: StaticAnswer, *, chat: bool, streaming: bool) -> dict[str, object]:
    kind = ("chat.completion.chunk" if streaming else "chat.completion") if chat else "text_completion"
    identifier = "chatcmpl-static" if chat else "cmpl-static"
    return {"id": identifier, "object": kind, "created": CREATED, "model": answer.model}


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _json_response(value: object) -> bytes:
    return _response(b"200 OK", b"application/json", orjson.dumps(value))


def _response(status: bytes, media: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, media, len(body), body)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sage_benchmark.static_engine", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens in an answer (default 16)")
    parser.add_argument("--gap-ms", type=float, default=0.0, help="milliseconds between the tokens of a stream")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="milliseconds before the first byte")
    parser.add_argument("--model", default=MODEL, help=f"name of the model (default {MODEL})")
    arguments = parser.parse_args()
    if arguments.tokens < 1 or arguments.gap_ms < 0 or arguments.delay_ms < 0:
        parser.error("--tokens must be at least 1, --gap-ms and --delay-ms at least 0")
    return arguments


async def _run(arguments: argparse.Namespace) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    answer = StaticAnswer(arguments.tokens, arguments.gap_ms, arguments.delay_ms, arguments.model)
    server, url = await serve(arguments.host, arguments.port, answer)
    print(url, flush=True)
    await ended.wait()
    server.close()


def main() -> None:
    """Run the program."""
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_run(_arguments()))


if __name__ == "__main__":
    main()
