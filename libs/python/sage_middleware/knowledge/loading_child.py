"""The program that reads one document: ``python -m sage_middleware.knowledge.loading_child SUFFIX SECONDS BYTES``.

The document comes on standard input; its text goes to standard output as the fields of a ``LoadedText``, or
``{"refusal": …}`` says why there is none. SECONDS of a processor and BYTES of memory end it.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import orjson
import psutil

from sage_libs.loaders import UnreadableDocumentError, load_text


def main() -> None:
    """Read one document."""
    suffix, seconds, memory_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    data = sys.stdin.buffer.read()
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with contextlib.suppress(OSError):
        # Where memory is short the system ends this process first, not the one that waits for it.
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(ValueError, OSError):
        limit = psutil.Process().memory_info().vms + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        loaded = load_text(data, suffix)
        # JSON has no halves of surrogate pairs.
        text, title = (part.encode("utf-8", "replace").decode() for part in (loaded.text, loaded.title))
        answer = {"text": text, "title": title, "is_markdown": loaded.is_markdown}
    except UnreadableDocumentError as error:
        answer = {"refusal": error.message}
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
