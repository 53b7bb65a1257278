"""What an answer of an OpenAI server holds: when its tokens arrived, how many, and whether it is complete."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import orjson

from sage_mesh.openai_answer import read_delta
from sage_mesh.sse import DONE, SseParser

# Text in an event of a chat or a completion; an event that only names the role has an empty one.
_TEXT = re.compile(rb'"(?:content|text)":\s?"[^"]')
_USAGE = re.compile(rb'"completion_tokens":\s?(\d+)')
_ERROR = re.compile(rb'^data: ?\{"error"', re.MULTILINE)
_CODE = re.compile(rb'^data: ?\{"error".*?"code":\s?"(\w+)"', re.MULTILINE)
_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, or what arrived of it.

    Attributes:
        tokens: by the answer's own usage, or the number of its pieces of text.
        first_at, last_at: when the first and the last token arrived; None where none did. A document's tokens arrive
            with its last byte.
        token_times: when pieces of a stream's text arrived.
        error: why a stream is not complete, by the code of its error event where there is one; empty where it is.
        text: empty where it was not asked for.
    """

    tokens: int
    first_at: float | None
    last_at: float | None
    token_times: Sequence[float] = ()
    error: str = ""
    text: str = ""


def read_stream(pieces: Sequence[bytes], arrivals: Sequence[float], *, keep_text: bool) -> Answer:
    """Read server-sent events from pieces that are cut anywhere; ``arrivals`` has the time of each piece.

    An event arrives with the piece that completes its line; a line that is not complete is not read.
    """
    body = b"".join(pieces)
    lines = body[: body.rfind(b"\n") + 1]
    ends = list(accumulate(map(len, pieces)))
    found = [match.start() for match in _TEXT.finditer(lines)]
    times = list(dict.fromkeys(arrivals[bisect_right(ends, lines.index(b"\n", at))] for at in found))
    usage = _USAGE.findall(lines)
    return Answer(
        int(usage[-1]) if usage else len(found),
        times[0] if times else None,
        times[-1] if times else None,
        times,
        _stream_error(lines),
        _stream_text(body) if keep_text else "",
    )


def read_document(body: bytes, arrived_at: float | None, *, keep_text: bool) -> Answer:
    """Read an answer in one piece. ``arrived_at``: when its last byte came, None where it is empty."""
    usage = _USAGE.search(body)
    text = _document_text(body) if keep_text and body else ""
    return Answer(int(usage[1]) if usage is not None else 0, arrived_at, arrived_at, text=text)


def _stream_error(lines: bytes) -> str:
    if _ERROR.search(lines) is not None:
        code = _CODE.search(lines)
        return code[1].decode() if code is not None else "engine_error"
    return "" if _DONE.search(lines) is not None else "incomplete"


def _stream_text(body: bytes) -> str:
    events = [event.data for event in SseParser().feed(body)]
    return "".join(read_delta(data).text for data in events if data != DONE and '"error"' not in data)


def _document_text(body: bytes) -> str:
    choice = (orjson.loads(body).get("choices") or [{}])[0]
    return (choice.get("message") or {}).get("content") or choice.get("text") or ""
