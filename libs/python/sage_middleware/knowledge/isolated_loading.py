"""Reading the text of a document that anybody may have sent, in a process that it can do no harm to.

A file of a few kilobytes can unpack to gigabytes, or keep a parser busy for hours. Plain text cannot, and is read here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import NamedTuple

import orjson

from sage_libs.loaders import LoadedText, UnreadableDocumentError, load_text
from sage_libs.pdf_documents import docling_is_installed


class LoadingLimits(NamedTuple):
    """What the reading of one document may take.

    Attributes:
        clock_seconds: a busy machine gives a process less than a processor.
        memory_bytes: beside what the imports take.
    """

    processor_seconds: int = 30
    clock_seconds: float = 120.0
    memory_bytes: int = 1024 * 1024 * 1024


LIMITS = LoadingLimits()
# Docling loads models of pages and tables and looks at each page with them, in some seconds.
DOCLING_LIMITS = LoadingLimits(processor_seconds=600, clock_seconds=900.0, memory_bytes=8 * 1024 * 1024 * 1024)
_PLAIN_SUFFIXES = frozenset({".md", ".markdown", ".rst", ".txt"})


async def load_isolated(data: bytes, suffix: str) -> LoadedText:
    """Return the text of a document, as ``load_text`` does.

    Raises:
        UnreadableDocumentError: as ``load_text``, or reading it takes more.
    """
    if suffix.lower() in _PLAIN_SUFFIXES:
        return await asyncio.to_thread(load_text, data, suffix)
    limits = DOCLING_LIMITS if suffix.lower() == ".pdf" and docling_is_installed() else LIMITS
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sage_middleware.knowledge.loading_child",
        suffix,
        str(limits.processor_seconds),
        str(limits.memory_bytes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer, _ = await asyncio.wait_for(child.communicate(data), limits.clock_seconds)
    except asyncio.TimeoutError:
        raise UnreadableDocumentError(
            f"reading it takes longer than {limits.clock_seconds:g} s; split it, or save it as text"
        ) from None
    finally:
        if child.returncode is None:
            # With what it has started, which would keep the pipe open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    try:
        told = orjson.loads(answer)
    except orjson.JSONDecodeError:
        # It was ended by the system before it had answered.
        raise UnreadableDocumentError(
            f"reading it takes more than {limits.processor_seconds} s of a processor or "
            f"{limits.memory_bytes // 2**20} MiB of memory; split it, or save it as text"
        ) from None
    if "refusal" in told:
        raise UnreadableDocumentError(told["refusal"])
    return LoadedText(**told)
