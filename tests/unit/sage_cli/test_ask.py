"""What ``sage ask`` prints."""

from __future__ import annotations

import json

import pytest

from sage_apps.knowledge_answers import KnowledgeAnswer
from sage_cli.consoles import print_json


def test_an_answer_with_files_left_out_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(KnowledgeAnswer("text", "model", (), {"total": 0.5}, (("a.txt", "its content is binary, not text"),)))
    value = json.loads(capsys.readouterr().out)
    assert value["left_out"] == [["a.txt", "its content is binary, not text"]]
    assert value["text"] == "text"
