"""Reading an answer as it arrives, at little cost: when its tokens came, how many, and whether it is whole."""

from __future__ import annotations

import re
from array import array

import orjson

from sage_mesh.sse import DONE, SseParser, read_piece

# Text in an event of a chat or a completion; an event that only names the role has an empty one.
_TEXT = re.compile(rb'"(?:content|text)":\s?"[^"]')
_USAGE = re.compile(rb'"completion_tokens":\s?(\d+)')
_ERROR = re.compile(rb'^data: ?\{"error"', re.MULTILINE)
_CODE = re.compile(rb'^data: ?\{"error".*?"code":\s?"(\w+)"', re.MULTILINE)
_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)


class AnswerReader:
    """Takes the body of one response, in pieces cut anywhere.

    Args:
        streaming: whether it is server-sent events rather than one document.
        keep_text: whether the answer's text is wanted.

    Attributes:
        times: when pieces of a streamed answer's text came.
        first_at, last_at: when the first and the last token came, by the clock of ``take``'s caller.
    """

    def __init__(self, *, streaming: bool, keep_text: bool) -> None:
        self._streaming = streaming
        self._rest = b""
        self._pieces: list[bytes] = []
        self._counted = 0
        self._usage: int | None = None
        self._done = False
        self._failed = ""
        self._keep = keep_text
        self.times = array("d")
        self.first_at: float | None = None
        self.last_at: float | None = None

    def take(self, data: bytes, now: float) -> None:
        """The next bytes of the body have come."""
        if not self._streaming:
            self._pieces.append(data)
            self.last_at = now
            return
        if self._keep:
            self._pieces.append(data)
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        lines, self._rest = data[:cut], data[cut:]
        if not lines:
            return
        texts = len(_TEXT.findall(lines))
        if texts:
            self._counted += texts
            self.times.append(now)
            self.last_at = now
            if self.first_at is None:
                self.first_at = now
        usage = _USAGE.search(lines)
        if usage is not None:
            self._usage = int(usage[1])
        self._done = self._done or _DONE.search(lines) is not None
        if not self._failed and _ERROR.search(lines) is not None:
            code = _CODE.search(lines)
            self._failed = code[1].decode() if code is not None else "engine_error"

    def end(self) -> None:
        """The body is complete."""
        if not self._streaming:
            self.first_at = self.last_at
            usage = _USAGE.search(b"".join(self._pieces))
            self._usage = int(usage[1]) if usage is not None else 0
            self._done = True

    @property
    def tokens(self) -> int:
        """Tokens that came: by the answer's own usage, else the pieces of text in it."""
        return self._counted if self._usage is None else self._usage

    @property
    def problem(self) -> str:
        """Why the answer is not whole, by the code of its error event where there is one; empty where it is whole."""
        if self._failed:
            return self._failed
        return "" if self._done else "incomplete"

    def text(self) -> str:
        """The answer's text; empty where it was not to be kept."""
        body = b"".join(self._pieces)
        if not self._keep or not body:
            return ""
        if self._streaming:
            events = [event.data for event in SseParser().feed(body)]
            return "".join(read_piece(data).text for data in events if data != DONE and '"error"' not in data)
        choice = (orjson.loads(body).get("choices") or [{}])[0]
        return (choice.get("message") or {}).get("content") or choice.get("text") or ""
