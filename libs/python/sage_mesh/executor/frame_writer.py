"""Writes one attempt's answer to its edge as numbered frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sage.inference.v1 import frame_pb2
from sage_common.errors import SageError
from sage_mesh.executor.flow_window import FlowWindow
from sage_mesh.reply import NO_USAGE, Media, ReplyHead, TokenUsage
from sage_mesh.wire.data_frames import DataFrames
from sage_mesh.wire.errors import error_to_wire
from sage_mesh.wire.frames import head_to_wire, usage_to_wire
from sage_platform.ring import Ring

# Larger answers travel as several frames, so that one answer does not hold up the others.
MAX_FRAME_BYTES = 256 * 1024


class FrameWriter:
    """A ReplyWriter that sends frames over the ring.

    The head is sent with the first bytes or the end, so that it costs no frame of its own; and the last bytes of what
    is of no use before its end, which is all but a stream of events, are sent with the end.

    Attributes:
        window: how much of it may be on its way.
        on_head: called when the engine writes the head.
        begun: whether it has.
        ended: whether the last frame was sent.
        resumable: whether another attempt could go on with the answer; false before the head.
    """

    def __init__(self, ring: Ring, dispatch: frame_pb2.Dispatch) -> None:
        self._ring = ring
        self._subject = dispatch.request.reply_subject
        self._dispatch = dispatch
        self._seq = 0
        self._frames: DataFrames | None = None
        self._unsent: frame_pb2.Frame | None = None
        self._waits_for_end = False
        self._usage = NO_USAGE
        self._usage_message: frame_pb2.Usage | None = None
        self._tokens: list[int] = []
        self.window = FlowWindow()
        self.on_head: Callable[[], None] | None = None
        self.begun = False
        self.ended = False
        self.resumable = False

    @property
    def paused(self) -> bool:
        return self.window.full

    async def until_resumed(self) -> None:
        await self.window.until_open()

    @property
    def usage_message(self) -> frame_pb2.Usage:
        """The usage so far, for reports."""
        if self._usage_message is None:
            self._usage_message = usage_to_wire(self._usage)
        return self._usage_message

    def head(
        self,
        media: Media,
        *,
        model: str = "",
        vector_count: int = 0,
        vector_dimensions: int = 0,
        continuable: bool = True,
        tells_tokens: bool = False,
    ) -> None:
        if self.begun:
            raise RuntimeError("an answer has one head")
        self.begun = True
        frame = self._next()
        dispatch = self._dispatch
        head = ReplyHead(
            media=media,
            engine_id=dispatch.engine_id,
            queue_ms=dispatch.queue_us / 1000,
            tries=dispatch.tries,
            model=model or dispatch.classification.model,
            vector_count=vector_count,
            vector_dimensions=vector_dimensions,
            resumable=continuable and media is Media.EVENT_STREAM and dispatch.classification.resumable,
            tells_tokens=tells_tokens,
        )
        self.resumable = head.resumable
        frame.head.CopyFrom(head_to_wire(head))
        frame.beside = dispatch.beside
        self._unsent = frame
        self._waits_for_end = media is not Media.EVENT_STREAM
        if self.on_head is not None:
            self.on_head()

    def tokens(self, ids: Sequence[int]) -> None:
        self._tokens.extend(ids)

    def data(self, data: bytes) -> None:
        if not self.begun:
            raise RuntimeError("the head comes before the data")
        self.window.on_sent(len(data))
        for start in range(0, len(data), MAX_FRAME_BYTES):
            is_last = start + MAX_FRAME_BYTES >= len(data)
            send = self._hold if self._waits_for_end else self._send
            send(data[start : start + MAX_FRAME_BYTES], self._take_tokens() if is_last else ())

    def _hold(self, data: bytes, token_ids: Sequence[int]) -> None:
        """Keep the bytes for the frame of the end, and send those that were kept so far."""
        frame = self._unsent
        if frame is None or frame.data:
            if frame is not None:
                self._ring.send(self._subject, frame)
            frame = self._next()
        frame.data = data
        frame.token_ids.extend(token_ids)
        self._unsent = frame

    def _send(self, data: bytes, token_ids: Sequence[int]) -> None:
        frame = self._unsent
        if frame is not None:
            # The beginning of an answer is waited for; what follows it may come a little later.
            self._unsent = None
            frame.data = data
            frame.token_ids.extend(token_ids)
            self._ring.send(self._subject, frame)
            return
        if self._frames is None:
            self._frames = DataFrames(self._dispatch.request.request_id, self._dispatch.attempt)
        item = self._frames.write(self._seq, data, token_ids)
        self._seq += 1
        self._ring.send_item(self._subject, item, may_wait=True)

    def _take_tokens(self) -> Sequence[int]:
        if not self._tokens:
            return ()
        tokens, self._tokens = self._tokens, []
        return tokens

    def usage(self, usage: TokenUsage) -> None:
        self._usage, self._usage_message = usage, None

    def finish(self) -> None:
        """Complete the answer."""
        self._end(frame_pb2.FrameEnd(usage=self.usage_message))

    def fail(self, error: SageError) -> None:
        """End the answer with an error."""
        self._end(frame_pb2.FrameEnd(usage=self.usage_message, error=error_to_wire(error)))

    def _end(self, end: frame_pb2.FrameEnd) -> None:
        if self.ended:
            return
        self.ended = True
        frame = self._take_unsent() or self._next()
        frame.end.CopyFrom(end)
        frame.beside = self._dispatch.beside
        self._ring.send(self._subject, frame)

    def _take_unsent(self) -> frame_pb2.Frame | None:
        frame, self._unsent = self._unsent, None
        return frame

    def _next(self) -> frame_pb2.Frame:
        frame = frame_pb2.Frame(
            request_id=self._dispatch.request.request_id, attempt=self._dispatch.attempt, seq=self._seq
        )
        self._seq += 1
        return frame
