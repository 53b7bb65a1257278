"""Records of an HTTP address: JSON, JSON Lines or CSV over GET, page after page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin

import aiohttp
import orjson
import polars as pl

from sage_common.errors import TooLargeError, UnavailableError, UnprocessableError, describe
from sage_kernel.connectors.csv_decoder import CsvDecoder, read_header
from sage_kernel.connectors.http_client import HttpClient
from sage_kernel.connectors.isolation import Decoded, refused
from sage_kernel.connectors.json_decoder import JsonDecoder, infer_json
from sage_kernel.connectors.patience import Attempts
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.connectors.text_formats import Csv
from sage_kernel.host_access import HostAccess
from sage_kernel.operator import Position, SourceBatch, Split
from sage_kernel.problems import PositionGoneError

_BATCH_BYTES = 4 * 1024 * 1024
_SAMPLE_BYTES = 4 * 1024 * 1024
MAX_PAGES = 100_000


@dataclass(frozen=True)
class HttpPages:
    """What is fetched.

    Attributes:
        url: of the first page.
        format: of a page; None tells it by the answer's Content-Type.
        items: path of names to the list of records in a page of JSON, as ``data.items``; None for a page that is one.
        next: path of names to the next page's URL in a page of JSON; a header ``Link: <…>; rel="next"`` counts too.
        max_bytes: a larger page is an error.
    """

    url: str
    format: Literal["json", "jsonl", "csv"] | None = None
    items: str | None = None
    next: str | None = None
    max_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class _Page:
    url: str
    body: bytes
    format: Literal["json", "jsonl", "csv"]
    version: str | None
    next_url: str | None


class HttpSource:
    """Fetches page after page. Its position is a page and how many records of it were taken."""

    def __init__(self, pages: HttpPages, options: SourceOptions, hosts: HostAccess, patience: Attempts) -> None:
        self._pages = pages
        self._options = options
        self._hosts = hosts
        self._patience = patience
        self._fields: Mapping[str, pl.DataType] | None = options.schema

    async def splits(self) -> Sequence[Split]:
        """The pages are one split: each says which comes next."""
        return (None,)

    async def discover(self) -> Mapping[str, pl.DataType]:
        """Return the fields of the first page."""
        if self._fields is None:
            client = HttpClient(self._hosts)
            try:
                page = await self._fetch(client, self._pages.url)
            finally:
                await client.close()
            sample = page.body if page.format == "csv" else b"\n".join(self._lines(page))
            cut = sample[:_SAMPLE_BYTES].rfind(b"\n") + 1 if len(sample) > _SAMPLE_BYTES else len(sample)
            infer = Csv(self._options.delimiter).infer if page.format == "csv" else infer_json
            self._fields = self._options.inferred(await asyncio.to_thread(infer, sample[:cut]))
        return self._fields

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the records of page after page.

        Raises:
            PositionGoneError: the page has changed since it was read in part.
        """
        conformer = self._options.conformer(await self.discover())
        url, taken, version = self._pages.url, 0, None
        if isinstance(position, dict):
            if position["url"] is None:
                return
            url, taken = str(position["url"]), int(str(position["taken"]))
            version = position.get("version")
        client = HttpClient(self._hosts)
        try:
            for _ in range(MAX_PAGES):
                page = await self._patience.attempt(lambda: self._fetch(client, url))  # noqa: B023
                if taken and version is not None and page.version != version:
                    raise PositionGoneError(
                        f"the page {url[:200]} has changed since {taken} records of it were read",
                        "start again from what is there, without the checkpoint",
                    )
                version = page.version
                if page.format == "csv":
                    columns, length = read_header(page.body, self._options.delimiter)
                    rows = CsvDecoder(conformer, columns, self._options.delimiter)
                    pieces = _csv_pieces(page.body[length:], rows)
                else:
                    pieces = _json_pieces(self._lines(page), JsonDecoder(conformer))
                at = 0
                async for records, decoded in pieces:
                    first, at = at, at + records
                    if at <= taken:
                        continue  # a piece that was taken before; pieces of the same page are the same
                    place: Position = {"url": url, "taken": at, "version": version}
                    yield SourceBatch(decoded.frame, place, refused(decoded.bad, _place_of(url, first)))
                yield SourceBatch(
                    pl.DataFrame(schema=conformer.schema), {"url": page.next_url, "taken": 0, "version": None}
                )
                if page.next_url is None:
                    return
                if page.next_url == url:
                    raise UnprocessableError(f"the page {url[:200]} names itself as the next; correct 'next'")
                url, taken, version = page.next_url, 0, None
            raise TooLargeError(f"more than {MAX_PAGES} pages; name a narrower address")
        finally:
            await client.close()

    async def _fetch(self, client: HttpClient, url: str) -> _Page:
        async with client.request("GET", url) as response:
            declared = response.content_length
            if declared is not None and declared > self._pages.max_bytes:
                raise self._too_large(url, declared)
            body = bytearray()
            try:
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > self._pages.max_bytes:
                        raise self._too_large(url, len(body))
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                raise UnavailableError(f"{url[:200]} broke off after {len(body)} bytes ({describe(error)})") from None
            kind = self._pages.format or _format_of(response.content_type)
            link = response.links["next"].get("url") if "next" in response.links else None
            version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        following = str(link) if link is not None else None
        if following is None and self._pages.next is not None and kind == "json":
            found = _at(_loads(bytes(body), url), self._pages.next)
            following = urljoin(url, found) if isinstance(found, str) and found else None
        return _Page(url, bytes(body), kind, version, following)

    def _lines(self, page: _Page) -> list[bytes]:
        if page.format == "jsonl":
            return [line for line in page.body.split(b"\n") if line.strip()]
        value = _loads(page.body, page.url)
        if self._pages.items is not None:
            value = _at(value, self._pages.items)
            if not isinstance(value, list):
                raise UnprocessableError(f"{page.url[:200]} has no list at {self._pages.items!r}; correct 'items'")
        return [orjson.dumps(record) for record in (value if isinstance(value, list) else [value])]

    def _too_large(self, url: str, size: int) -> TooLargeError:
        return TooLargeError(
            f"{url[:200]} has {size} bytes or more, over the limit of {self._pages.max_bytes}; raise 'max_file_bytes'"
        )


async def _json_pieces(lines: list[bytes], decoder: JsonDecoder) -> AsyncIterator[tuple[int, Decoded]]:
    start = 0
    while start < len(lines):
        end, size = start, 0
        while end < len(lines) and end - start < 65_536 and size < _BATCH_BYTES:
            size += len(lines[end])
            end += 1
        yield end - start, await asyncio.to_thread(decoder.decode_records, lines[start:end])
        start = end


async def _csv_pieces(body: bytes, decoder: CsvDecoder) -> AsyncIterator[tuple[int, Decoded]]:
    text = Csv()
    while body:
        cut = text.boundary(body[:_BATCH_BYTES]) if len(body) > _BATCH_BYTES else len(body)
        block, body = body[: cut or len(body)], body[cut or len(body) :]
        decoded = await asyncio.to_thread(decoder.decode_block, block)
        yield decoded.frame.height + len(decoded.bad), decoded


def _place_of(url: str, first: int) -> Callable[[int], str]:
    return lambda index: f"{url[:200]}, record {first + index + 1}"


def _format_of(content_type: str) -> Literal["json", "jsonl", "csv"]:
    kind = content_type.lower()
    if kind in ("application/x-ndjson", "application/jsonl", "application/jsonlines", "application/json-lines"):
        return "jsonl"
    return "csv" if kind in ("text/csv", "application/csv") else "json"


def _loads(body: bytes, url: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnprocessableError(f"{url[:200]} is not JSON ({error}); state its 'format'") from None


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
