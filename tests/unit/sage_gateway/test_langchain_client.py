"""LangChain's embeddings against the gateway; its chats are in ``dialects/test_frameworks``."""

from __future__ import annotations

import openai
import pytest
from fixtures.engines import EMBEDDING_MODEL, vector_of
from fixtures.mesh import Mesh
from langchain_openai import OpenAIEmbeddings


async def test_langchain_embeds(mesh: Mesh) -> None:
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="unused", max_retries=0) as client:
        # Its own cutting of long texts is by a tokenizer of OpenAI's.
        embeddings = OpenAIEmbeddings(
            model=EMBEDDING_MODEL,
            api_key="unused",
            check_embedding_ctx_length=False,
            async_client=client.embeddings,
        )
        vectors = await embeddings.aembed_documents(["one", "two"])
    assert vectors == [pytest.approx(vector_of(text).tolist()) for text in ("one", "two")]
