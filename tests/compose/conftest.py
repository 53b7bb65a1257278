"""One mesh in containers for the whole suite; it is built and started once, and always removed."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from fixtures.compose_stack import ComposeStack, missing_engine

SCALE = {"classifier": 2, "scheduler": 2}


@pytest.fixture(scope="session")
def stack() -> Iterator[ComposeStack]:
    """A running mesh with two classifiers and two schedulers."""
    reason = missing_engine()
    if reason:
        pytest.skip(reason)
    stack = ComposeStack()
    stack.build()
    try:
        stack.up(SCALE)
        stack.wait_ready()
        yield stack
    finally:
        stack.down()


@pytest.fixture
def client(stack: ComposeStack) -> Iterator[openai.OpenAI]:
    """The openai client against it. It does not retry, so what fails shows."""
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
        yield client
