"""Adapters that are kept are those of the same engine, and what cannot be read is none."""

from __future__ import annotations

import pytest

from sage_llm_coordinator.adapter_records import AdapterRecords
from sage_llm_coordinator.engines.wanted_adapters import Adapter
from sage_platform.kv import open_bucket
from sage_platform.ring import Ring

ADAPTERS = (Adapter("terse", "/a/terse"), Adapter("polite", "/a/polite"))


async def records(ring: Ring, bucket: str, host: str = "here") -> AdapterRecords:
    return AdapterRecords(await open_bucket(ring.connection.jetstream(), bucket), host)


async def test_what_was_kept_is_read_by_another_until_nothing_is_wanted(ring: Ring) -> None:
    kept = await records(ring, "adapters-kept")
    await kept.write("registered/mine", "acme/tiny", ADAPTERS)
    another = await records(ring, "adapters-kept", host="there")
    assert await another.read("registered/mine", "acme/tiny") == ADAPTERS
    await kept.write("registered/mine", "acme/tiny", ())
    assert await another.read("registered/mine", "acme/tiny") == ()


async def test_adapters_are_no_other_models_no_other_machines_and_of_no_engine_that_nobody_claims(ring: Ring) -> None:
    here, there = await records(ring, "adapters-other"), await records(ring, "adapters-other", host="there")
    await here.write("configured/1/1", "acme/tiny", ADAPTERS)
    await here.write("", "acme/tiny", ADAPTERS)
    assert await here.read("configured/1/1", "acme/tiny") == ADAPTERS
    assert await here.read("configured/1/1", "acme/big") == ()
    assert await there.read("configured/1/1", "acme/tiny") == ()
    assert await here.read("", "acme/tiny") == ()


@pytest.mark.parametrize("value", [b"", b"[]", b'{"model":"m","adapters":[{"nom":"a"}]}'])
async def test_what_cannot_be_read_is_nothing(ring: Ring, value: bytes) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), "adapters-bad")
    await bucket.put("registered_2fmine", value)
    assert await (await records(ring, "adapters-bad")).read("registered/mine", "m") == ()
