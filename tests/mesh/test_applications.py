"""The applications on a running mesh, as a user starts them."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, NamedTuple

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_client.knowledge.knowledge_client import open_knowledge

COMMAND_SECONDS = 60


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    said: str
    noted: str

    @property
    def lines(self) -> list[Any]:
        """What it printed, a line of JSON each."""
        return [json.loads(line) for line in self.said.splitlines()]


async def sage_app(mesh: IsolatedMesh, *arguments: str, typed: str = "") -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sage_cli", "app", *arguments),
        env=mesh.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, noted = await asyncio.wait_for(process.communicate(typed.encode()), COMMAND_SECONDS)
    return Ended(process.returncode or 0, said.decode(), noted.decode())


async def test_the_assistant_answers_follow_ups_from_its_handbook_with_sources(mesh: IsolatedMesh) -> None:
    typed = "How long can I keep a board game?\nCan I put it into the return slot?\nWhat is a black hole?\n"
    ended = await sage_app(mesh, "assistant", "--sample", "--json", typed=typed)
    assert ended.code == 0, ended.noted
    first, follow_up, unknown = ended.lines
    assert first["question"] == "How long can I keep a board game?"
    assert "21 days" in first["answer"]
    assert first["sources"][0]["place"].startswith("borrowing.md:")
    assert follow_up["question"] == "Can I put it into the return slot? (about: How long can I keep a board game)"
    assert follow_up["model"] == "sage-extractive"
    assert "no board games" in follow_up["sources"][0]["text"]
    assert unknown["answer"] == "Nothing relevant to the question was found in library-handbook."
    assert (unknown["model"], unknown["sources"]) == ("", [])


async def test_an_assistant_without_documents_says_what_to_do_and_goes_on(mesh: IsolatedMesh) -> None:
    missing = await sage_app(mesh, "assistant", "Is there anything?", "--kb", "nowhere")
    assert (missing.code, missing.said) == (66, "")
    assert "there is no knowledge base 'nowhere'" in missing.noted
    knowledge = await open_knowledge(mesh.gateway_url)
    await knowledge.create("empty-base")
    try:
        ended = await sage_app(mesh, "assistant", "--kb", "empty-base", typed="Is there anything?\n/sources\n")
        assert (ended.code, ended.said) == (0, "")
        assert "the knowledge base 'empty-base' holds no document; `sage kb ingest empty-base FOLDER`" in ended.noted
        assert "no source yet" in ended.noted
    finally:
        await knowledge.drop("empty-base")
        await knowledge.close()
