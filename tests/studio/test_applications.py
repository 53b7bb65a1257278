"""The applications' pages, in a real browser over a real mesh."""

from __future__ import annotations

import re

import pytest
from fixtures.studio_mesh import OpenPage, Shoot
from playwright.sync_api import expect

from sage_benchmark.isolated_mesh import IsolatedMesh

pytestmark = pytest.mark.studio


def test_the_assistant_gets_its_handbook_and_answers_a_question_and_what_follows(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(f"{mesh.studio_url}/apps")
    page.get_by_role("link", name="Document assistant").click()
    expect(page.get_by_role("heading", name="Document assistant")).to_be_visible()
    question = page.get_by_label("Question")
    question.fill("Too early?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Choose a knowledge base first")).to_be_visible()
    page.get_by_role("button", name="Add a library's handbook").click()
    # Thirteen documents are read and embedded.
    expect(page.get_by_role("button", name="Add a library's handbook")).to_be_hidden(timeout=60_000)
    question.fill("How long can I keep a board game?")
    page.keyboard.press("Enter")
    answers = page.locator(".said:not(.user)")
    expect(answers.first).to_contain_text("21 days")
    expect(page.locator(".source").first).to_contain_text(re.compile(r"\[1\] borrowing\.md:\d+"))
    expect(page.get_by_role("button", name="Ask")).to_be_visible()
    question.fill("Can I put it into the return slot?")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("(about: How long can I keep a board game)")).to_be_visible()
    expect(answers.nth(1)).to_contain_text(re.compile("slot"))
    source = page.locator(".found").nth(1).locator(".source").first
    source.click()
    expect(source.locator("mark").first).to_be_visible()
    shoot(page, "studio-assistant")
    question.fill("What is a black hole?")
    page.keyboard.press("Enter")
    expect(answers.nth(2)).to_have_text("Nothing relevant to the question was found in library-handbook.")
    page.get_by_role("button", name="Start over").click()
    expect(answers).to_have_count(0)
