"""A frame can be written in one thread while another one looks at it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import io, threading
import polars as pl
from sage_kernel.ipc_stream import write_ipc_stream

frame = pl.concat([pl.DataFrame({"n": list(range(20_000))})] * 4, rechunk=False)

def write():
    for _ in range(50):
        buffer = io.BytesIO()
        write_ipc_stream(frame, buffer)
    assert pl.read_ipc_stream(buffer.getvalue()).equals(frame)

writer = threading.Thread(target=write)
writer.start()
looks = 0
while writer.is_alive():
    assert frame.height == 80_000
    looks += 1
print(looks)
"""


def test_a_frame_is_looked_at_while_it_is_written() -> None:
    # In a process of its own: one whose threads wait for each other's locks does not end.
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert int(ended.stdout) > 0
