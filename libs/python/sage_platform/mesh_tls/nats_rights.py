"""What each identity of a secured mesh may do on NATS: subjects of its part of the ring, and its buckets and streams.

Whoever may subscribe to a wildcard sees all below it. The reply subjects of edges and the inboxes of requests therefore
begin with the identity, so that none sees another's.

The server checks the names in JetStream's requests, not what is in them: who may make a stream can have it store any
subject. Only identities that are trusted with that own buckets and streams; see ADR 67.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sage_common.tls_settings import OPERATOR
from sage_platform import subjects
from sage_platform.identity_subjects import inbox_prefix

CLIENT = "client"
SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator", "embed-executor", "dataflow-worker")
# Users of NATS, each with a certificate.
IDENTITIES = (*SERVICES, CLIENT, OPERATOR)

_READS = (
    "STREAM.INFO.{}",
    "STREAM.MSG.GET.{}",
    "DIRECT.GET.{}",
    "DIRECT.GET.{}.>",
    "CONSUMER.CREATE.{}",
    "CONSUMER.CREATE.{}.>",
    "CONSUMER.DURABLE.CREATE.{}.>",
    "CONSUMER.INFO.{}.>",
    "CONSUMER.MSG.NEXT.{}.>",
    "CONSUMER.DELETE.{}.>",
)
_CHANGES = ("STREAM.CREATE.{}", "STREAM.UPDATE.{}", "STREAM.DELETE.{}", "STREAM.PURGE.{}", "STREAM.MSG.DELETE.{}")
_MOVES = ("STREAM.LEADER.STEPDOWN.{}",)
_ANY_STREAM = ("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST")

# JetStream's name for the object store.
BODIES_STREAM = f"OBJ_{subjects.BUCKET_BODIES}"

_GATEWAY_BUCKETS = (
    subjects.BUCKET_KEYS,
    subjects.BUCKET_FILES,
    subjects.BUCKET_BATCHES,
    subjects.BUCKET_OPEN_BATCHES,
    subjects.BUCKET_RESPONSES,
    subjects.BUCKET_OPEN_RESPONSES,
    subjects.BUCKET_WORK_LEASES,
    subjects.BUCKET_TENANTS,
    subjects.BUCKET_PRICES,
    subjects.BUCKET_MODEL_ROUTES,
    subjects.BUCKET_BUDGETS,
    subjects.BUCKET_RATES,
    subjects.BUCKET_QUOTA_HOLDERS,
    subjects.BUCKET_USAGE,
)
_GATEWAY_STREAMS = (
    (subjects.FILES_STREAM, (subjects.FILES_ALL,)),
    (subjects.BATCH_RESULTS_STREAM, (subjects.BATCH_RESULTS_ALL,)),
    (subjects.RESPONSE_EVENTS_STREAM, (subjects.RESPONSE_EVENTS_ALL,)),
    (subjects.USAGE_STREAM, (subjects.USAGE_ALL,)),
    (BODIES_STREAM, (f"$O.{subjects.BUCKET_BODIES}.>",)),
)
# Of the llm-coordinators, which alone know what is in them.
_ENGINE_BUCKETS = ("engines", "engine_servers", "engine_adapters")


@dataclass(frozen=True, slots=True)
class Rights:
    """What one identity may do, beside reading the API keys' digests and keeping its own record of a service.

    Attributes:
        publish, subscribe: subjects beside those of buckets and streams.
        reads: buckets that it reads; likewise ``reads_streams``.
        owns: buckets that it makes, reads and writes.
        streams: streams that it makes, reads and writes, each with the subjects that it stores.
        denied: subjects that it may not publish where ``publish`` would allow it.
    """

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    reads_streams: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    streams: tuple[tuple[str, tuple[str, ...]], ...] = ()
    denied: tuple[str, ...] = ()


def _edge(identity: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an edge publishes and subscribes to: it asks for answers, and hears of engines and frames."""
    publish = (
        subjects.CLASSIFY,
        # Where no classifier runs, it classifies by itself.
        subjects.SCHEDULE_ALL,
        subjects.CANCEL,
        subjects.FLOW,
        subjects.INQUIRE,
        subjects.HELLO,
    )
    return publish, (subjects.HEARTBEAT, subjects.replies(identity))


def _executor() -> tuple[tuple[str, ...], tuple[str, ...]]:
    publish = (subjects.REPLY_ALL, subjects.REPORT_ALL, subjects.HEARTBEAT)
    return publish, (subjects.DISPATCH_ALL, subjects.CANCEL, subjects.FLOW, subjects.HELLO)


def _sum(*parts: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(s for part in parts for s in part[0]), tuple(s for part in parts for s in part[1])


@functools.cache
def rights_by_identity() -> Mapping[str, Rights]:
    """Return what every identity may do, but the operator, who may do anything."""
    gateway, scheduler, worker = _edge("gateway"), _edge("scheduler"), _edge("dataflow-worker")
    scheduler = _sum(
        scheduler,
        (
            (
                subjects.DISPATCH_ALL,
                subjects.REPLY_ALL,
                subjects.EXPLAIN,
                f"{inbox_prefix('scheduler')}.>",
                # It has the servers of a cluster choose which of them leads the leases.
                *_api(_MOVES, f"KV_{subjects.BUCKET_LEASES}"),
            ),
            (
                subjects.SCHEDULE_ALL,
                subjects.REPORT_ALL,
                subjects.CACHE_ALL,
                subjects.CANCEL,
                subjects.INQUIRE,
                subjects.EXPLAIN,
            ),
        ),
    )
    coordinator = _sum(_executor(), _edge("llm-coordinator"), ((subjects.CACHE_ALL,), ()))
    # Pipelines read and write whatever subjects their authors name, those of the mesh excepted.
    not_the_workers = (*_GATEWAY_BUCKETS, *_ENGINE_BUCKETS, subjects.BUCKET_CONTROL, subjects.BUCKET_LEASES)
    denied = (
        subjects.DISPATCH_ALL,
        subjects.REPLY_ALL,
        subjects.REPORT_ALL,
        subjects.CACHE_ALL,
        subjects.HEARTBEAT,
        subjects.EXPLAIN,
        "$SYS.>",
        "_INBOX_*.>",
        *(f"$KV.{bucket}.>" for bucket in not_the_workers),
        *(subject for _, stored in _GATEWAY_STREAMS for subject in stored),
        *(pattern for bucket in not_the_workers for pattern in _api(_CHANGES, f"KV_{bucket}")),
        *(
            pattern
            for name in (*(f"KV_{b}" for b in not_the_workers if b != subjects.BUCKET_KEYS), *_names(_GATEWAY_STREAMS))
            for pattern in _api((*_READS, *_CHANGES, *_MOVES), name)
        ),
    )
    return {
        "gateway": Rights(
            *gateway,
            owns=(*_GATEWAY_BUCKETS, subjects.BUCKET_LEASES, subjects.BUCKET_SERVICES),
            streams=_GATEWAY_STREAMS,
        ),
        "classifier": Rights(
            publish=(subjects.SCHEDULE_ALL, subjects.REPLY_ALL, subjects.HELLO),
            subscribe=(subjects.CLASSIFY, subjects.HEARTBEAT),
            reads=(subjects.BUCKET_TENANTS,),
        ),
        "scheduler": Rights(
            *scheduler,
            reads=(subjects.BUCKET_TENANTS, subjects.BUCKET_PRICES),
            owns=(subjects.BUCKET_LEASES, subjects.BUCKET_CONTROL, subjects.BUCKET_SERVICES),
        ),
        "llm-coordinator": Rights(*coordinator, owns=_ENGINE_BUCKETS, reads_streams=(BODIES_STREAM,)),
        "embed-executor": Rights(*_executor(), reads_streams=(BODIES_STREAM,)),
        "dataflow-worker": Rights(
            publish=(">",),
            subscribe=(*worker[1], subjects.JOBS_CANCEL, subjects.RESULTS_ALL, subjects.EVENTS_ALL),
            owns=(subjects.BUCKET_SERVICES,),
            denied=denied,
        ),
        # A program that joins the ring as an edge, or publishes jobs.
        CLIENT: Rights(*_sum(_edge(CLIENT), ((subjects.JOBS_SUBMIT, subjects.JOBS_CANCEL), ()))),
    }


def permissions(identity: str) -> dict[str, object] | None:
    """Return nats-server's ``permissions`` of an identity; None for one that may do anything."""
    if identity == OPERATOR:
        return None
    rights = rights_by_identity()[identity]
    owned = [(f"KV_{bucket}", (f"$KV.{bucket}.>",)) for bucket in rights.owns] + list(rights.streams)
    publish = {
        *rights.publish,
        *_ANY_STREAM,
        f"$KV.{subjects.BUCKET_SERVICES}.>",
        *(subject for _, stored in owned for subject in stored),
        *_acknowledging(rights),
    }
    for bucket in (subjects.BUCKET_KEYS, subjects.BUCKET_SERVICES, *rights.reads):
        publish.update(_api(_READS, f"KV_{bucket}"))
    for stream in rights.reads_streams:
        publish.update(_api(_READS, stream))
    for name, _ in owned:
        publish.update(_api((*_READS, *_CHANGES), name))
    allowed: dict[str, object] = {"allow": sorted(publish)}
    if rights.denied:
        allowed["deny"] = sorted(rights.denied)
    return {"publish": allowed, "subscribe": {"allow": sorted({*rights.subscribe, f"{inbox_prefix(identity)}.>"})}}


def may_make(identity: str, stream: str) -> bool:
    """Whether an identity may make a stream, or the stream of a bucket; in a mesh without identities everybody may."""
    rights = rights_by_identity().get(identity)
    if rights is None:
        return True
    if ">" in rights.publish:
        return f"$JS.API.STREAM.CREATE.{stream}" not in rights.denied
    return stream in {*(f"KV_{bucket}" for bucket in rights.owns), *_names(rights.streams)}


def _acknowledging(rights: Rights) -> list[str]:
    """What a consumer's reader answers with: acknowledgements, and the flow control of a push consumer."""
    buckets = {subjects.BUCKET_KEYS, subjects.BUCKET_SERVICES, *rights.reads, *rights.owns}
    names = [*(f"KV_{bucket}" for bucket in sorted(buckets)), *rights.reads_streams, *_names(rights.streams)]
    return [f"$JS.{verb}.{name}.>" for verb in ("ACK", "ACK.*.*", "FC") for name in names]


def _api(verbs: Iterable[str], stream: str) -> list[str]:
    return [f"$JS.API.{verb.format(stream)}" for verb in verbs]


def _names(streams: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [name for name, _ in streams]
