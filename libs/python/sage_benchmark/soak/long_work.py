"""Batch files and pipeline jobs, one after the other, and an account of each line and record of theirs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from sage_benchmark.simulated_engine.answer_text import marker
from sage_benchmark.soak.accounts import Account, Attempt, Ending
from sage_benchmark.soak.checked_answers import CHAT, MODELS, Gateways, WrongAnswerError, check_text
from sage_benchmark.soak.management_calls import AGAIN_SECONDS, CallBrokenError, CallFailedError, ManagementCalls
from sage_benchmark.soak.soak_plan import Work

POLL_SECONDS = 1.0
BATCH_ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
JOB_ENDS = frozenset({"succeeded", "failed", "cancelled"})
JSON = "application/json"


class LongWork:
    """Has batches and jobs done until the time is over, and accounts for them.

    Attributes:
        accounts: of every line and record.
        calls: in whose name it is done.
        batches, jobs: that were begun.
    """

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways
        self.calls = ManagementCalls(gateways, "soak")
        self.accounts: list[Account] = []
        self.batches = 0
        self.jobs = 0

    async def run_batches(self) -> None:
        """Have one batch file done after the other."""
        plan = self._gateways.plan
        generator = random.Random(f"batches {plan.seed}")
        while self._gateways.now() < plan.seconds:
            self.batches += 1
            tokens = {f"b{self.batches}x{n}": generator.randint(*plan.tokens) for n in range(plan.batch_lines)}
            await self._accounted(Work.BATCH_LINE, tokens, self._batch(f"batch-{self.batches}", tokens))

    async def run_jobs(self) -> None:
        """Have one pipeline job done after the other."""
        plan = self._gateways.plan
        generator = random.Random(f"jobs {plan.seed}")
        while self._gateways.now() < plan.seconds:
            self.jobs += 1
            tokens = {f"j{self.jobs}x{n}": generator.randint(*plan.tokens) for n in range(plan.job_records)}
            await self._accounted(Work.JOB_RECORD, tokens, self._job(f"soak-{plan.seed}-{self.jobs}", tokens))

    async def _accounted(self, work: Work, tokens: dict[str, int], doing: Any) -> None:
        """Wait for the answers by name, and account for each."""
        begun = self._gateways.now()
        limit = self._gateways.plan.work_seconds
        got: dict[str, list[str]] = {}
        fault, ending = "", Ending.WRONG
        try:
            got, fault = await asyncio.wait_for(doing, limit)
        except asyncio.TimeoutError:
            fault, ending = f"not done within {limit:g} s", Ending.HUNG
        except (CallFailedError, KeyError, TypeError, ValueError) as error:
            fault = repr(error)
        ended = self._gateways.now()
        for name, count in tokens.items():
            detail = fault_of(got.get(name, []), name, count)
            as_should_be = Attempt(0, begun, ended, Ending.WHOLE)
            wrong = Attempt(0, begun, ended, ending, detail=f"{detail}; {fault}")
            self.accounts.append(Account(name, work, [wrong if detail else as_should_be]))

    async def _batch(self, label: str, tokens: dict[str, int]) -> tuple[dict[str, list[str]], str]:
        content = b"".join(map(_line, tokens.items()))

        def upload() -> aiohttp.FormData:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", content, filename=f"{label}.jsonl")
            return form

        file = await self.calls.json("POST", "/v1/files", upload)
        batch = await self._made_batch(label, file["id"])
        while batch["status"] not in BATCH_ENDS:
            await asyncio.sleep(POLL_SECONDS)
            batch = await self.calls.json("GET", f"/v1/batches/{batch['id']}")
        got: dict[str, list[str]] = {}
        errors = b""
        if batch.get("output_file_id"):
            output = await self.calls.content("GET", f"/v1/files/{batch['output_file_id']}/content")
            for result in map(orjson.loads, output.splitlines()):
                message = result["response"]["body"]["choices"][0]["message"]
                got.setdefault(result["custom_id"], []).append(message["content"])
        if batch.get("error_file_id"):
            errors = await self.calls.content("GET", f"/v1/files/{batch['error_file_id']}/content")
        return got, f"{batch['id']} is {batch['status']} {batch.get('errors') or ''} {errors[:600]!r}"

    async def _made_batch(self, label: str, file_id: str) -> dict[str, Any]:
        """Make a batch; one whose answer was lost with its gateway is found by its label, not made twice."""
        order = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", "metadata": {"label": label}}
        while True:
            for known in (await self.calls.json("GET", "/v1/batches?limit=20"))["data"]:
                if (known.get("metadata") or {}).get("label") == label:
                    return dict(known)
            try:
                return dict(orjson.loads(await self.calls.once("POST", "/v1/batches", orjson.dumps(order), JSON)))
            except CallBrokenError:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _job(self, job_id: str, tokens: dict[str, int]) -> tuple[dict[str, list[str]], str]:
        pipeline = orjson.dumps(pipeline_of(tokens))
        path = f"/v1/management/jobs/{job_id}"
        job = await self.calls.json(
            "POST", f"/v1/management/jobs?job_id={job_id}", lambda: pipeline, "application/yaml"
        )
        while job["state"] not in JOB_ENDS:
            await asyncio.sleep(POLL_SECONDS)
            job = await self.calls.json("GET", path)
        got: dict[str, list[str]] = {}
        after, has_more = 0, True
        while has_more:
            page = await self.calls.json("GET", f"{path}/results?after={after}")
            for piece in page["data"]:
                for record in piece["records"]:
                    got.setdefault(record["name"], []).append(record["answer"])
            after, has_more = page["next_after"], page["has_more"]
        return got, f"{job_id} {job['state']} {job['errors']}"


def pipeline_of(tokens: dict[str, int]) -> dict[str, Any]:
    """Return the pipeline that asks for each answer."""
    records = [{"name": name, "text": f"{marker(name, count)} tell", "tokens": count} for name, count in tokens.items()]
    most = max(tokens.values()) + 10
    return {
        "apiVersion": "sage/v1",
        "kind": "Pipeline",
        "metadata": {"name": "soak"},
        "settings": {"checkpoint_interval": "2s"},
        "nodes": {
            "asked": {"op": "source", "records": records},
            "told": {"op": "llm", "in": "asked", "prompt": "{text}", "model": MODELS.llm, "max_tokens": most},
            "out": {"op": "sink", "in": "told", "uri": "collection:out"},
        },
    }


def fault_of(answers: Sequence[str], name: str, tokens: int) -> str:
    """Say what is wrong with the answers to a line or a record: there is to be one, and whole."""
    if len(answers) != 1:
        return f"{len(answers)} answers"
    try:
        check_text(answers[0], name, tokens)
    except WrongAnswerError as error:
        return str(error)
    return ""


def doubled(accounts: Sequence[Account]) -> list[str]:
    """Return names that are accounted for more than once."""
    return [name for name, count in Counter(account.name for account in accounts).items() if count > 1]


def _line(item: tuple[str, int]) -> bytes:
    name, tokens = item
    body = {
        "model": MODELS.llm,
        "max_tokens": tokens + 10,
        "messages": [{"role": "user", "content": f"{marker(name, tokens)} tell"}],
    }
    return orjson.dumps({"custom_id": name, "method": "POST", "url": CHAT, "body": body}) + b"\n"
