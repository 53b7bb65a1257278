"""LlamaIndex runs unchanged: a stream, an agent with a tool, and an index over the mesh's own embeddings."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".sage" / "llamaindex-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("LLAMAINDEX_PYTHON", INSTALLED))
SAID = "It rains in Oslo."
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}

pytestmark = pytest.mark.llamaindex


class ToolEngine(BaseHTTPRequestHandler):
    """A server of a model that calls the first tool it is given once, and then says what it has learnt."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        models = {"object": "list", "data": [{"id": "tools", "object": "model", "owned_by": "test"}]}
        self._answer(json.dumps(models if self.path == "/v1/models" else {}).encode())

    def do_POST(self) -> None:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        calls = body.get("tools") and body["messages"][-1]["role"] != "tool"
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]} if calls else {"role": "assistant"}
        if not calls:
            message["content"] = SAID
        common = {"id": "c", "created": 1, "model": "tools"}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
            usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
            whole = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
            self._answer(json.dumps(whole).encode())
            return
        chunks = [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None} for word in SAID.split()]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        events = [json.dumps({**common, "object": "chat.completion.chunk", "choices": [one]}) for one in chunks]
        text = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
        self._answer(text.encode(), "text/event-stream")

    def _answer(self, body: bytes, media: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[IsolatedMesh]:
    engine = ThreadingHTTPServer(("127.0.0.1", 0), ToolEngine)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    try:
        with isolated_mesh(tmp_path / "mesh", llm=f"http://127.0.0.1:{engine.server_address[1]}/v1") as running:
            yield running
    finally:
        engine.shutdown()
        engine.server_close()


def test_llamaindex_streams_runs_an_agent_and_searches(mesh: IsolatedMesh) -> None:
    assert PYTHON.exists(), f"no LlamaIndex at {PYTHON}: run tests/llamaindex/install.sh, or set LLAMAINDEX_PYTHON"
    command = [str(PYTHON), str(HERE / "ask_mesh.py"), f"{mesh.gateway_url}/v1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    told = json.loads(ran.stdout)
    assert "".join(told["streamed"]).strip() == SAID
    assert len(told["streamed"]) > 2
    assert (told["agent"], told["cities"]) == (SAID, ["Oslo"])
    assert told["found"].startswith("Cats sleep")
