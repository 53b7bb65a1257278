"""Policies, engines, decisions in plain values. ``dataclasses.asdict`` of each is its JSON in REST and ``--json``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PolicySettingView:
    """A setting of a policy that is a number; ``configured`` is what the scheduler was started with."""

    name: str
    value: float
    configured: float
    meaning: str


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The policy of a pool with its settings that are numbers, and the names that may be set."""

    pool: str
    policy: str
    available: tuple[str, ...]
    settings: tuple[PolicySettingView, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A change of policy; ``pool`` is None when it was for every pool, and ``previous`` then the default pool's."""

    pool: str | None
    previous: str
    policy: str


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool of engines, as the scheduler that leads it counts since it took the lead; None where no leader answered.

    Attributes:
        leader: instance id of that scheduler; None while the pool has none.
        queued: requests that wait now.
        outstanding: requests that were dispatched and have not ended.
        interrupted: bulk answers that were asked to give their seats to more urgent work.
        recomputed_tokens: tokens that engines were given again after interruptions.
    """

    pool: str
    policy: str
    leader: str | None
    queued: int | None = None
    outstanding: int | None = None
    dispatched: int | None = None
    refused: int | None = None
    retried: int | None = None
    interrupted: int | None = None
    recomputed_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EngineView:
    """An engine, with the counts of the scheduler that leads its pool, where there is one.

    Attributes:
        name: what people call it and every command takes; the id differs after each restart.
        kinds: work that its models do, e.g. ``embedding``.
        aliases: further names of its models.
        max_concurrency: requests that may be outstanding at once.
        capacity_source: who said so: ``told`` by its server, ``configured`` by an operator, or ``unknown``, where the
            number is a technical ceiling.
        running: requests that its executor lists.
        outstanding: requests outstanding by the scheduler's own count.
        draining: whether an operator drains it.
        breaker: ``closed``, ``open`` or ``half_open``; empty while no scheduler leads its pool.
        heartbeat_age_seconds: since the last heartbeat of its executor.
        request_cap: requests that it is given at once now, see ``narrowed_to``; None while no scheduler leads its pool.
    """

    engine_id: str
    implementation: str
    pool: str
    phase: str
    reason: str
    executor_id: str
    models: tuple[str, ...]
    max_concurrency: int
    max_outstanding_tokens: int
    running: int
    waiting: int
    kv_cache_usage: float
    url: str
    labels: dict[str, str]
    outstanding: int = 0
    outstanding_tokens: int = 0
    draining: bool = False
    breaker: str = ""
    heartbeat_age_seconds: float = 0.0
    name: str = ""
    capacity_source: str = ""
    kinds: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    request_cap: int | None = None


@dataclass(frozen=True, slots=True)
class EngineRegistration:
    """An OpenAI-compatible server to take in.

    Attributes:
        engine_id: name; empty makes one from the URL. The engine's id is this and a tail.
        pool: empty for the default one.
        max_concurrency: ceiling of the requests outstanding at once; 0 goes by what the server says, or by what is
            learned of it.
        kinds: work that its models do, ``chat``, ``generate``, ``embedding``; empty for what the server lists.
        aliases: further names for the server's first model.
        models: names of its models, for a server without a list of them; only these are served then.
        health_path: where its health is asked, below its root; empty reads its list of models instead, None finds out.
    """

    url: str
    engine_id: str = ""
    api_key: str = ""
    pool: str = ""
    max_concurrency: int = 0
    kinds: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    health_path: str | None = None


@dataclass(frozen=True, slots=True)
class EngineStart:
    """A model for vLLM to load, on a machine that a coordinator runs on.

    Attributes:
        model: a name on the hub, or a folder on the coordinator's machine.
        name: empty takes the model's. The engine's id is this and a tail.
        served_model_name: what callers call the model; empty takes the last part of ``model``.
        arguments: further arguments of vLLM's server.
        environment: further variables of it. They are kept with the engine; secrets do not belong here.
        device: ``cpu``, ``cpu:0-3`` (cores), ``cuda``, ``cuda:0,1`` (GPUs); empty lets the coordinator choose.
        port: 0 takes a free one.
        kinds: work that it does, ``chat``, ``generate``, ``embedding``; empty for what vLLM lists.
        memory_check: refuse it where the machine has no room for it.
    """

    model: str
    name: str = ""
    served_model_name: str = ""
    aliases: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    device: str = ""
    port: int = 0
    pool: str = ""
    max_concurrency: int = 0
    kinds: tuple[str, ...] = ()
    memory_check: bool = True


@dataclass(frozen=True, slots=True)
class EngineRemoval:
    """An engine was removed; ``aborted`` requests were still running on it."""

    engine_id: str
    aborted: int


@dataclass(frozen=True, slots=True)
class EngineRestart:
    """An engine was stopped and starts again under a new id; ``aborted`` requests were still running on it."""

    engine: EngineView
    aborted: int


@dataclass(frozen=True, slots=True)
class CandidateView:
    """An engine that was considered: its score, higher is better, and the share of the prompt that it has cached."""

    engine_id: str
    score: float
    cached_share: float | None = None


@dataclass(frozen=True, slots=True)
class DispatchView:
    """One dispatch; ``at_ms`` counts from the request's arrival. The error is the one that ended the attempt."""

    engine_id: str
    tries: int
    hedge: bool
    at_ms: float
    queue_ms: float
    band: str
    candidates: tuple[CandidateView, ...]
    predicted_ttft_ms: float | None
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class ClassificationView:
    """What the classifier found out; targets are milliseconds, 0 for none."""

    kind: str
    pool: str
    model: str
    service_class: str
    priority: str
    slo_ttft_ms: int
    slo_tpot_ms: int
    slo_end_to_end_ms: int
    input_tokens: int
    output_tokens: int
    streaming: bool
    sheddable: bool
    resumable: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailedModelView:
    """A model that was tried before, its error, and the reason: ``refusal``, ``failure`` or ``context_length``."""

    model: str
    reason: str
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class RoutedModelView:
    """How a gateway came to the model: the name that the caller used, the model routes behind it, what had failed."""

    name: str
    path: tuple[str, ...]
    failed: tuple[FailedModelView, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one scheduler decided about a request; ``sage.scheduler.v1.Explanation`` describes the fields.

    Attributes:
        request_id: the mesh's id of it.
        correlation_id: its caller's id for it; None where it gave none.
        interruptions: how often it gave its seat to more urgent work.
        routed: None where the caller named the model itself.
        output_tokens: of its answer; None until it has finished, and where its engine does not report them.
    """

    request_id: str
    scheduler_id: str
    state: str
    tenant: str
    classification: ClassificationView | None
    policy: str
    band: str
    age_ms: int
    decided_ms_ago: int
    queue_ms: float
    engine_id: str
    predicted_ttft_ms: float | None
    actual_ttft_ms: float | None
    ended_after_ms: float | None
    dispatches: tuple[DispatchView, ...]
    error_code: str
    error_message: str
    correlation_id: str | None = None
    interruptions: int = 0
    routed: RoutedModelView | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request in short; times are milliseconds from its arrival, targets milliseconds, 0 for none.

    Attributes:
        request_id: the mesh's id of it.
        correlation_id: its caller's id for it; None where it gave none.
        state: ``queued``, ``running``, ``finished``, ``failed``, ``cancelled``, ``lost`` or ``refused``.
        kind: work that it asks for; this, its model, class and targets are empty where a scheduler only found it
            running.
        input_tokens: estimated tokens of its prompt.
        tries: dispatches, hedges among them.
        streaming: whether the answer comes token by token; the first token of another is all of it.
        output_tokens: of its answer; None until it has finished, and where its engine does not report them.
    """

    request_id: str
    correlation_id: str | None
    tenant: str
    state: str
    kind: str
    model: str
    pool: str
    service_class: str
    priority: str
    slo_ttft_ms: int
    slo_tpot_ms: int
    slo_end_to_end_ms: int
    input_tokens: int
    engine_id: str
    age_ms: int
    decided_ms_ago: int
    queue_ms: float
    tries: int
    hedged: bool
    ttft_ms: float | None
    ended_after_ms: float | None
    output_tokens: int | None
    streaming: bool
    error_code: str
    interruptions: int
