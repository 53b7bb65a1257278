"""What ``sage ask`` prints."""

from __future__ import annotations

import json

from sage_apps.rag import RagAnswer
from sage_cli.commands.ask import _as_json
from sage_kernel.operator import Skipped


def test_an_answer_with_files_left_out_is_json() -> None:
    left_out = (Skipped("documents", "a.txt", "its content is binary, not text"),)
    answer = RagAnswer("text", "model", (), {"total": 0.5}, {}, left_out, ())
    value = json.loads(_as_json(answer))
    assert value["skipped"] == [{"node": "documents", "item": "a.txt", "reason": "its content is binary, not text"}]
    assert value["text"] == "text"
