"""Tenants and model routes of a whole mesh: two gateways, one of them killed; and what the command line says of it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
import pytest
from fixtures.eventually import eventually
from fixtures.process_mesh import further_process, listed_engines, sage, static_mesh, until_engines

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh

PATH = "/v1/chat/completions"
TOKENS = 16
# What the engine says of every prompt, and what an answer comes to.
SPENT = TOKENS + 1
# What the gateway estimates of the prompt below, and the answer at its longest.
ESTIMATE = 21
BODY = {"model": "static", "max_tokens": TOKENS, "messages": [{"role": "user", "content": "Say something."}]}
CLIENTS = 8
# A gateway counts as dead after eight seconds.
LAPSED_SECONDS = 40.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    with static_mesh(tmp_path_factory.mktemp("tenants"), "--tokens", str(TOKENS), "--delay-ms", "10") as running:
        yield running


@asynccontextmanager
async def second_gateway(mesh: IsolatedMesh, log: Path) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a gateway that nobody starts again; give its process and its URL."""
    with further_process(mesh, "gateway", log, {"SAGE_GATEWAY_PORT": "0"}) as process:
        found: list[str] = []

        def is_ready() -> bool:
            found[:] = re.findall(r"http_port\W+(\d+)", log.read_text(errors="replace"))
            return bool(found)

        await eventually(is_ready, seconds=60)
        yield process, f"http://127.0.0.1:{found[0]}"


@dataclass
class Spending:
    """What the clients of one tenant got.

    Attributes:
        answered: whole answers.
        broken: requests whose gateway died before the end of their answers.
        refused: clients that were told that the budget is used up.
    """

    urls: list[str]
    answered: int = 0
    broken: int = 0
    refused: int = 0
    killed: bool = False
    others: set[str] = field(default_factory=set)

    async def client(self, tenant: str, number: int, kill: subprocess.Popen[bytes] | None, after: int) -> None:
        """Ask until the budget is used up; when its gateway is gone, at the other."""
        url = self.urls[number % len(self.urls)]
        async with aiohttp.ClientSession(headers={"x-sage-tenant": tenant}) as http:
            while True:
                try:
                    async with http.post(url + PATH, json=BODY) as response:
                        answer = await response.json()
                except aiohttp.ClientError:
                    self.broken += 1
                    url = self.urls[0]
                    continue
                if response.status == 200:
                    assert answer["usage"]["total_tokens"] == SPENT
                    self.answered += 1
                    if kill is not None and not self.killed and self.answered >= after:
                        self.killed = True
                        kill.kill()
                elif (code := answer["error"]["code"]) == "insufficient_quota":
                    self.refused += 1
                    return
                else:
                    # The rest is reserved by requests that run, or held by the gateway that died.
                    assert (response.status, code) == (429, "rate_limit_exceeded"), answer
                    self.others.add(code)
                    await asyncio.sleep(0.05)


def usage_of(mesh: IsolatedMesh, tenant: str) -> dict[str, Any]:
    """What ``sage usage`` says of a tenant, in one row."""
    rows = json.loads(sage(mesh, "usage", "--tenant", tenant, "--json"))
    return dict(rows[0]) if len(rows) == 1 else {"requests": sum(row["requests"] for row in rows)}


@pytest.mark.long
async def test_eight_clients_spend_one_budget_to_the_end_though_one_of_two_gateways_is_killed(
    mesh: IsolatedMesh, tmp_path: Path
) -> None:
    budget = 600 * SPENT
    sage(mesh, "price", "set", "static", "--prompt", "1", "--completion", "2")
    shown = sage(mesh, "tenant", "set", "acme", "--daily-tokens", str(budget), "--json")
    assert json.loads(shown) == {"name": "acme", "models": [], "daily_tokens": budget}
    async with second_gateway(mesh, tmp_path / "gateway.log") as (process, url):
        spending = Spending([mesh.gateway_url, url])
        clients = (spending.client("acme", number, process, 250) for number in range(CLIENTS))
        await asyncio.wait_for(asyncio.gather(*clients), LAPSED_SECONDS)
    assert spending.killed
    # Not more than the budget; and all of it but what no request fits in, and what may have come to an end unseen.
    received = spending.answered * SPENT
    assert budget - ESTIMATE - spending.broken * SPENT < received <= budget
    assert spending.broken <= CLIENTS // 2

    def is_summed() -> bool:
        usage = usage_of(mesh, "acme")
        return bool(usage["requests"] >= spending.answered)

    await eventually(is_summed, seconds=30)
    rows = json.loads(sage(mesh, "usage", "--tenant", "acme", "--json"))
    ended = [row for row in rows if row["model"] == "static"]
    spent = sum(row["prompt_tokens"] + row["completion_tokens"] for row in ended)
    # What the last events of the killed gateway say is in the accounts too, once.
    assert received <= spent <= min(budget, received + spending.broken * SPENT)
    (row,) = ended
    assert float(row["money"]) == pytest.approx((row["prompt_tokens"] + 2 * row["completion_tokens"]) / 1e6)


async def test_usage_is_written_as_csv_and_as_parquet(mesh: IsolatedMesh, tmp_path: Path) -> None:
    async with aiohttp.ClientSession(headers={"x-sage-tenant": "exported"}) as http:
        for _ in range(3):
            async with http.post(mesh.gateway_url + PATH, json=BODY) as response:
                assert response.status == 200
    await eventually(lambda: usage_of(mesh, "exported")["requests"] == 3, seconds=30)
    table, frame = tmp_path / "usage.csv", tmp_path / "usage.parquet"
    sage(mesh, "usage", "--tenant", "exported", "--by", "day", "--csv", str(table), "--parquet", str(frame))
    text = table.read_bytes().decode()
    (written,) = csv.DictReader(io.StringIO(text))
    (read,) = pl.read_parquet(frame).to_dicts()
    assert (written["requests"], written["completion_tokens"]) == ("3", str(3 * TOKENS))
    assert (read["requests"], read["completion_tokens"], read["tenant"]) == (3, 3 * TOKENS, "exported")
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{mesh.gateway_url}/v1/management/usage?tenant=exported&by=day&format=csv") as response,
    ):
        assert await response.text() == text


async def test_a_request_above_its_tenants_class_is_lowered_and_its_explanation_says_so(mesh: IsolatedMesh) -> None:
    sage(mesh, "tenant", "set", "lowly", "--class-ceiling", "bulk", "--weight", "0.5")
    headers = {"x-sage-tenant": "lowly", "x-request-type": "interactive", "x-request-id": "lowly-1"}

    async def says_so() -> bool:
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(mesh.gateway_url + PATH, json=BODY) as response,
        ):
            assert response.status == 200
        return "lowered to tenant 'lowly''s ceiling BULK" in sage(mesh, "explain", "lowly-1", "--json")

    await eventually(says_so, seconds=20)


def test_tenants_and_prices_are_listed_and_removed(mesh: IsolatedMesh) -> None:
    sage(mesh, "tenant", "set", "team-a", "--rpm", "60", "--tpm", "100000", "--monthly-money", "20")
    assert json.loads(sage(mesh, "tenant", "set", "team-a", "--rpm", "none", "--model", "llama-*", "--json")) == {
        "name": "team-a",
        "models": ["llama-*"],
        "tokens_per_minute": 100_000,
        "monthly_money": "20",
    }
    (left,) = json.loads(sage(mesh, "tenant", "show", "team-a", "--json"))["left"][1:]
    assert (left["unit"], left["period"], left["left"]) == ("money", "month", "20")
    assert "tokens/minute" in sage(mesh, "tenant", "show", "team-a")
    listed = sage(mesh, "tenant", "list")
    assert ("team-a" in listed, "100,000 tokens/min" in listed) == (True, True)
    assert "has no limits" in sage(mesh, "tenant", "remove", "team-a")
    assert "0.075" in sage(mesh, "price", "set", "a/b", "--prompt", "0.15", "--completion", "0.6", "--cached", "0.075")
    assert "has no price" in sage(mesh, "price", "remove", "a/b")


async def asked(url: str, **fields: Any) -> tuple[str, str]:
    """Ask for a chat; return the model that answered and the id of the request."""
    async with aiohttp.ClientSession() as http, http.post(url + PATH, json={**BODY, **fields}) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["model"]), response.headers["x-request-id"]


@asynccontextmanager
async def registered(mesh: IsolatedMesh, model: str) -> AsyncIterator[str]:
    """Run a further engine with a model of its own, until the context ends or it is killed."""
    with static_engine("--model", model) as url:
        sage(mesh, "engine", "register", f"{url}/v1", "--id", model)
        await until_engines(mesh, lambda listed: any(model in one["models"] for one in listed), 20)
        await eventually(lambda: model in ready_models(mesh), seconds=20)
        yield url
    # Its server is gone; so that the others are alone again:
    sage(mesh, "engine", "remove", model)


def ready_models(mesh: IsolatedMesh) -> set[str]:
    return {model for one in listed_engines(mesh) if one["phase"] == "ready" for model in one["models"]}


async def test_a_name_falls_back_at_both_gateways_when_its_engine_is_gone_and_its_explanation_says_so(
    mesh: IsolatedMesh, tmp_path: Path
) -> None:
    async with second_gateway(mesh, tmp_path / "gateway.log") as (_, url):
        async with registered(mesh, "big"):
            sage(mesh, "model", "set", "best", "--target", "big", "--fallback", "static=failure")
            assert [(await asked(each, model="best"))[0] for each in (mesh.gateway_url, url)] == ["big", "big"]
            listed = json.loads(sage(mesh, "models", "--json"))
            assert {model["id"]: model.get("targets") for model in listed}["best"] == ["big", "static"]
        for each in (mesh.gateway_url, url):
            model, request_id = await asked(each, model="best")
            assert model == "static"
        (decision,) = json.loads(sage(mesh, "explain", request_id, "--json"))["decisions"]
        assert (decision["routed"]["name"], decision["classification"]["model"]) == ("best", "static")
        (failed,) = decision["routed"]["failed"]
        assert (failed["model"], failed["reason"]) == ("big", "failure")
        assert "fell back" in sage(mesh, "explain", request_id)
        # An alias that changes is seen by both at once.
        sage(mesh, "model", "set", "best", "--target", "static", "--fallback", "none")
        assert [(await asked(each, model="best"))[0] for each in (mesh.gateway_url, url)] == ["static", "static"]


async def test_routes_outlive_their_gateway_and_a_circle_is_refused_by_its_names(mesh: IsolatedMesh) -> None:
    sage(mesh, "model", "set", "kept", "--target", "static", "--default", "temperature=0.2")
    mesh.process(mesh.processes("gateway")[0].name).kill()

    async def answers() -> bool:
        try:
            return (await asked(mesh.gateway_url, model="kept"))[0] == "static"
        except (aiohttp.ClientError, AssertionError):
            return False

    await eventually(answers, seconds=30)
    sage(mesh, "model", "set", "above", "--target", "kept")
    with pytest.raises(AssertionError, match="in a circle: "):
        sage(mesh, "model", "set", "kept", "--target", "above")
    assert json.loads(sage(mesh, "model", "show", "kept", "--json"))["targets"] == [{"model": "static", "weight": 1}]
    async with aiohttp.ClientSession(mesh.gateway_url) as http:
        body = {"targets": [{"model": "static", "weight": 9}, {"model": "other"}]}
        async with http.put("/v1/management/models/split", json=body) as response:
            assert response.status == 200
        async with http.get("/v1/management/models/split") as response:
            assert [target["weight"] for target in (await response.json())["targets"]] == [9, 1]
        async with http.put("/v1/management/models/split", json={"targets": [{"model": "x", "weight": 0}]}) as response:
            assert (response.status, "'split'" in (await response.json())["error"]["message"]) == (400, True)
    assert "0.9 static, 0.1 other" in sage(mesh, "model", "list")
    assert "no model route any more" in sage(mesh, "model", "drop", "split")
