"""Asks for one answer at a gateway and checks every token, or every vector, of what comes."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from sage_benchmark.simulated_engine.answer_rendering import DEFAULT_DIMENSIONS, vector_of
from sage_benchmark.simulated_engine.answer_text import answer_text, marker
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.soak.accounts import Account, Attempt, Ending
from sage_benchmark.soak.soak_plan import AnswerOrder, SoakPlan, Work

MODELS = SimulatedModels()
DATA, DONE = b"data: ", b"data: [DONE]"
SHOWN = 300
CHAT = "/v1/chat/completions"
# A gateway that dies is back before that many are gone.
MOST_ATTEMPTS = 6


class WrongAnswerError(Exception):
    """It says that it is whole, and is not."""


class ClearError(Exception):
    """The answer is an error in the form of the API."""


@dataclass
class Gateways:
    """The gateways that clients know, by host, and how they ask.

    Attributes:
        began: of the soak, seconds of the monotonic clock.
    """

    urls: dict[int, str]
    session: aiohttp.ClientSession
    plan: SoakPlan
    began: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        """Seconds from the beginning."""
        return time.monotonic() - self.began

    def host(self, turn: int) -> int:
        """Return a host with a gateway, each in turn."""
        hosts = sorted(self.urls)
        return hosts[turn % len(hosts)]


async def answer(gateways: Gateways, order: AnswerOrder, account: Account, first: int) -> None:
    """Ask until there is an answer or an error; once more, elsewhere, where the connection breaks."""
    for number in range(MOST_ATTEMPTS):
        attempt = await _attempt(gateways, order, gateways.host(first + number))
        account.attempts.append(attempt)
        if attempt.ending is not Ending.BROKEN:
            return


async def _attempt(gateways: Gateways, order: AnswerOrder, host: int) -> Attempt:
    path, body = request_of(order)
    begun, received = gateways.now(), Received()

    def ended(ending: Ending, detail: str = "") -> Attempt:
        return Attempt(host, begun, gateways.now(), ending, received.engine, detail[:SHOWN])

    try:
        limit = aiohttp.ClientTimeout(total=gateways.plan.answer_seconds)
        async with gateways.session.post(gateways.urls[host] + path, json=body, timeout=limit) as response:
            received.engine = host_of(response.headers.get("x-sage-engine", ""))
            if response.status != 200:
                return ended(*_refused(response.status, await response.read()))
            if body.get("stream"):
                async for line in response.content:
                    received.take(line)
                received.check(order)
            else:
                check_document(order, await response.read())
        return ended(Ending.WHOLE)
    except asyncio.TimeoutError:
        return ended(Ending.HUNG, f"no end; {received.told}")
    except aiohttp.ClientError as error:
        return ended(Ending.BROKEN, f"{type(error).__name__}: {error}; {received.told}")
    except ClearError as error:
        return ended(Ending.ERROR, f"{error}; {received.told}")
    except (WrongAnswerError, KeyError, TypeError, ValueError) as error:
        return ended(Ending.WRONG, f"{error!r}; {received.told}")


def request_of(order: AnswerOrder) -> tuple[str, dict[str, Any]]:
    """Return the path and the body that ask for an answer."""
    if order.work is Work.EMBEDDING:
        return "/v1/embeddings", {"model": MODELS.embedding, "input": texts_of(order), "encoding_format": "base64"}
    prompt = f"{marker(order.name, order.tokens)} tell"
    body: dict[str, Any] = {"model": MODELS.llm, "max_tokens": order.tokens + 10}
    if order.work is Work.COMPLETION:
        return "/v1/completions", {**body, "prompt": prompt}
    body |= {"stream": True, "messages": [{"role": "user", "content": prompt}]}
    if order.work is Work.GUIDED:
        body["response_format"] = {"type": "json_object"}
    return CHAT, body


def texts_of(order: AnswerOrder) -> list[str]:
    """Return the texts that an order has embedded."""
    return [f"{order.name} text {number}" for number in range(1 + order.tokens % 4)]


def host_of(engine: str) -> int:
    """Return the host of an engine by its name, ``engine2-ab12``; 0 where it has no such name."""
    name = engine.partition("-")[0].removeprefix("engine")
    return int(name) if name.isdecimal() else 0


@dataclass
class Received:
    """What has come of a stream.

    Attributes:
        engine: host of the engine that began it.
    """

    text: str = ""
    ends: int = 0
    engine: int = 0

    @property
    def told(self) -> str:
        """It in a few words."""
        return f"{len(self.text.split())} tokens, the last {self.text[-40:]!r}" if self.text else "nothing came"

    def take(self, line: bytes) -> None:
        """Take a line of it. Raises ClearError."""
        if line.startswith(DONE):
            self.ends += 1
        elif line.startswith(DATA):
            event = orjson.loads(line.removeprefix(DATA))
            if "error" in event:
                raise ClearError(str(event["error"]["message"]))
            for choice in event["choices"]:
                self.text += choice["delta"].get("content") or ""

    def check(self, order: AnswerOrder) -> None:
        """Raise WrongAnswerError unless each token came once, in order, before the one end."""
        if self.ends != 1:
            raise WrongAnswerError(f"{self.ends} ends")
        check_text(self.text, order.name, order.tokens)


def check_text(text: str, name: str, tokens: int) -> None:
    """Raise WrongAnswerError unless each token of an answer is there once, in order."""
    if text == answer_text(name, 0, tokens):
        return
    said = text.split()
    missing, doubled = tokens - len(set(said)), len(said) - len(set(said))
    raise WrongAnswerError(f"{missing} of {tokens} tokens missing, {doubled} doubled")


def check_document(order: AnswerOrder, body: bytes) -> None:
    """Raise WrongAnswerError unless an answer in one piece is whole."""
    value = orjson.loads(body)
    if order.work is Work.EMBEDDING:
        _check_vectors(texts_of(order), value["data"])
    else:
        check_text(value["choices"][0]["text"], order.name, order.tokens)


def _check_vectors(texts: Sequence[str], items: Sequence[dict[str, Any]]) -> None:
    if [item["index"] for item in items] != list(range(len(texts))):
        raise WrongAnswerError(f"vectors {[item['index'] for item in items]} of {len(texts)} texts")
    for item, text in zip(items, texts, strict=True):
        if base64.b64decode(item["embedding"]) != vector_of(text, DEFAULT_DIMENSIONS).tobytes():
            raise WrongAnswerError(f"the vector of {text!r} is another's")


def _refused(status: int, body: bytes) -> tuple[Ending, str]:
    """Return how an answer with a status of no success ended: an error in the form of the API is a clear one."""
    try:
        error = orjson.loads(body)["error"]
        return Ending.ERROR, f"{status} {error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return Ending.WRONG, f"{status}, and no error in the form of the API: {body[:SHOWN]!r}"
