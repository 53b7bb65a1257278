"""What an application does with LlamaIndex: run by the Python that has it, with the API's root as its argument."""

from __future__ import annotations

import asyncio
import json
import sys

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

cities: list[str] = []


def weather(city: str) -> str:
    """Tell the weather of a city."""
    cities.append(city)
    return f"rain in {city}"


async def main(root: str) -> None:
    llm = OpenAILike(
        model="tools",
        api_base=root,
        api_key="unused",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )
    embeddings = OpenAILikeEmbedding(model_name="minilm", api_base=root, api_key="unused")
    streamed = [piece.delta async for piece in await llm.astream_complete("hello")]
    agent = FunctionAgent(tools=[weather], llm=llm, streaming=False)
    answered = await agent.run("How is Oslo?")
    texts = ("The scheduler holds a lease for each pool.", "Cats sleep most of the day.", "Bananas are yellow.")
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in texts], embed_model=embeddings, transformations=[SentenceSplitter()]
    )
    found = index.as_retriever(similarity_top_k=1).retrieve("What do cats do?")
    told = {"streamed": streamed, "agent": str(answered), "cities": cities, "found": found[0].text}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
