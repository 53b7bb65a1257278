"""An OpenAI-compatible engine that answers at once with the same text: the floor that a gateway is measured against.

``python -m sage_benchmark.static_engine --port 0`` prints its URL and serves ``/v1/chat/completions``,
``/v1/completions``, ``/v1/models`` and ``/health`` until it is signalled to end. It is no simulation: it has no
latency model, it counts nothing, and it does not read the prompt. The answers are rendered once, at start. With
``--record-gaps``, ``/gaps`` tells the gaps between its own writes to a stream since it was last asked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from array import array
from dataclasses import dataclass

import orjson
import uvloop

from sage_benchmark.engine_http_server import (
    STREAM_END,
    STREAM_HEAD,
    EngineHttpServer,
    HttpRequest,
    ServerConnection,
    render_error,
    render_event,
    render_json,
    render_response,
)
from sage_platform.process_tuning import allow_many_open_files

MODEL = "static"
CREATED = 1_700_000_000
WORD = "word "
CHAT = b"/v1/chat/completions"
COMPLETIONS = b"/v1/completions"


@dataclass(frozen=True, slots=True)
class StaticAnswer:
    """What to answer.

    Attributes:
        tokens: tokens in an answer, > 0.
        gap_ms: milliseconds between the tokens of a stream; 0 sends them all in one write.
        delay_ms: milliseconds before the first byte.
        model: name in ``/v1/models`` and in the answers; requests for any other are answered all the same.
        record_gaps: whether the gaps between tokens are noted.
    """

    tokens: int = 16
    gap_ms: float = 0.0
    delay_ms: float = 0.0
    model: str = MODEL
    record_gaps: bool = False

    def usage(self) -> dict[str, int]:
        """The usage that every answer reports."""
        return {"prompt_tokens": 1, "completion_tokens": self.tokens, "total_tokens": self.tokens + 1}


class StaticEngine:
    """Answers requests with responses that are rendered once."""

    def __init__(self, answer: StaticAnswer, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = EngineHttpServer(self._serve, host, port, reads_headers=False)
        self._gap_seconds = answer.gap_ms / 1000
        self._delay_seconds = answer.delay_ms / 1000
        self._gaps: array[float] | None = array("d") if answer.record_gaps else None
        self._whole = {chat: (render_json(_whole(answer, chat=chat)),) for chat in (True, False)}
        self._streams = {
            (chat, usage): self._paced(_stream(answer, chat=chat, include_usage=usage))
            for chat in (True, False)
            for usage in (True, False)
        }
        model = {"id": answer.model, "object": "model", "created": CREATED, "owned_by": "sage"}
        self._models = render_json({"object": "list", "data": [model]})
        self._health = render_response(200, b"text/plain", b"")
        self._missing = render_error(404, "no such path", "invalid_request_error", "not_found")

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        return self._server.url

    async def start(self) -> None:
        """Listen. OSError where the port is taken."""
        await self._server.open()

    def close(self) -> None:
        """Stop listening and break every connection."""
        self._server.close()

    def _paced(self, pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return pieces if self._gap_seconds else (b"".join(pieces),)

    def _serve(self, request: HttpRequest, connection: ServerConnection) -> None:
        chat = request.target == CHAT
        if not chat and request.target != COMPLETIONS:
            connection.write(self._state(request.target))
            connection.finish()
            return
        pieces = self._choose(request.body, chat=chat)
        if self._delay_seconds:
            self._later(self._delay_seconds, connection, pieces, 0)
        else:
            self._write(connection, pieces, 0)

    def _choose(self, body: bytes, *, chat: bool) -> tuple[bytes, ...]:
        # Searching is enough: the programs that use this engine write JSON in one of these two ways.
        if b'"stream"' in body and (b'"stream":true' in body or b'"stream": true' in body):
            usage = b'"include_usage":true' in body or b'"include_usage": true' in body
            return self._streams[chat, usage]
        return self._whole[chat]

    def _state(self, target: bytes) -> bytes:
        if target == b"/gaps" and self._gaps is not None:
            return render_json(self._gaps_so_far(self._gaps))
        if target == b"/v1/models":
            return self._models
        return self._health if target == b"/health" else self._missing

    def _gaps_so_far(self, gaps: array[float]) -> dict[str, float]:
        """Return them in milliseconds, and begin anew."""
        ordered = sorted(gap * 1e3 for gap in gaps) or [0.0]
        self._gaps = array("d")
        at = {
            name: int(share * (len(ordered) - 1)) for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1))
        }
        return {"count": len(gaps), **{name: ordered[place] for name, place in at.items()}}

    def _write(
        self, connection: ServerConnection, pieces: tuple[bytes, ...], position: int, written_at: float = 0.0
    ) -> None:
        now = time.perf_counter() if self._gaps is not None else 0.0
        if self._gaps is not None and position:
            self._gaps.append(now - written_at)
        connection.write(pieces[position])
        if position + 1 < len(pieces):
            self._later(self._gap_seconds, connection, pieces, position + 1, now)
        else:
            connection.finish()

    def _later(
        self,
        seconds: float,
        connection: ServerConnection,
        pieces: tuple[bytes, ...],
        position: int,
        written_at: float = 0.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._write, connection, pieces, position, written_at)
        connection.on_disconnect = timer.cancel


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
    common = _common(answer, chat=chat, streaming=True)
    pieces: list[bytes] = []
    for position in range(answer.tokens):
        content: dict[str, object] = {"delta": {"content": WORD}} if chat else {"text": WORD}
        if chat and position == 0:
            content = {"delta": {"role": "assistant", "content": WORD}}
        last = position == answer.tokens - 1
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": "length" if last else None}
        pieces.append(render_event(orjson.dumps({**common, "choices": [choice]})))
    if include_usage:
        pieces[-1] += render_event(orjson.dumps({**common, "choices": [], "usage": answer.usage()}))
    pieces[-1] += render_event(b"[DONE]") + STREAM_END
    pieces[0] = STREAM_HEAD + pieces[0]
    return tuple(pieces)


def _common(answer: StaticAnswer, *, chat: bool, streaming: bool) -> dict[str, object]:
    kind = ("chat.completion.chunk" if streaming else "chat.completion") if chat else "text_completion"
    identifier = "chatcmpl-static" if chat else "cmpl-static"
    return {"id": identifier, "object": kind, "created": CREATED, "model": answer.model}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sage_benchmark.static_engine", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens in an answer (default 16)")
    parser.add_argument("--gap-ms", type=float, default=0.0, help="milliseconds between the tokens of a stream")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="milliseconds before the first byte")
    parser.add_argument("--record-gaps", action="store_true", help="note the gaps between tokens, for /gaps")
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
    answer = StaticAnswer(
        arguments.tokens, arguments.gap_ms, arguments.delay_ms, arguments.model, arguments.record_gaps
    )
    engine = StaticEngine(answer, arguments.host, arguments.port)
    await engine.start()
    print(engine.url, flush=True)
    await ended.wait()
    engine.close()


def main() -> None:
    """Run the program."""
    allow_many_open_files()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_run(_arguments()))


if __name__ == "__main__":
    main()
