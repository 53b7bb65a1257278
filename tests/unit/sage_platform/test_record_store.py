"""Records of operators, followed by several processes, on a real nats-server."""

from __future__ import annotations

import os

import pytest
from fixtures.eventually import eventually
from pydantic import BaseModel

from sage_common.errors import NotFoundError
from sage_platform.kv import open_bucket
from sage_platform.record_store import RecordStore
from sage_platform.ring import Ring


class Colour(BaseModel):
    name: str
    shade: int = 0


async def test_what_one_writes_all_follow_and_what_no_one_can_read_is_left_out(ring: Ring) -> None:
    js, bucket = ring.connection.jetstream(), f"colours-{os.urandom(3).hex()}"
    stores = [RecordStore(js, bucket, Colour, lambda colour: colour.name, "colour") for _ in range(2)]
    told: list[set[str]] = []
    stores[1].on_change(lambda: told.append({*stores[1].records}))
    for store in stores:
        await store.start()
    try:
        # A name may have any characters.
        await stores[0].put(Colour(name="dark blue/*", shade=3))
        assert stores[0].records["dark blue/*"].shade == 3
        await eventually(lambda: "dark blue/*" in stores[1].records)
        await (await open_bucket(js, bucket)).put("broken", b'{"name": 3}')
        await stores[1].put(Colour(name="dark blue/*", shade=4))
        await stores[1].put(Colour(name="red"))
        await eventually(lambda: set(stores[0].records) == {"dark blue/*", "red"})
        assert [colour.shade for colour in await stores[0].all()] == [4, 0]
        await stores[0].remove("dark blue/*")
        await eventually(lambda: set(stores[1].records) == {"red"})
        assert (told[0], told[-1]) == (set(), {"red"})
        await stores[0].put(Colour(name="dark blue/*"))
        with pytest.raises(NotFoundError, match="no colour 'green' is kept; there are dark blue/"):
            await stores[0].remove("green")
    finally:
        for store in stores:
            await store.stop()
