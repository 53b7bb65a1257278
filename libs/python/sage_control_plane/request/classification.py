"""Classification of requests: kind, pool, class, targets and estimates, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from sage_control_plane.request.body import RequestBody, read_body
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT, ModelCatalog
from sage_control_plane.request.features import FeatureExtractor
from sage_control_plane.request.number_ranges import INT32
from sage_control_plane.request.request import (
    Classification,
    Endpoint,
    Hints,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)

DEFAULT_CLASS = {
    RequestKind.LLM_CHAT: ServiceClass.INTERACTIVE,
    RequestKind.LLM_GENERATE: ServiceClass.DEFAULT,
    RequestKind.EMBEDDING: ServiceClass.EMBEDDING,
    RequestKind.RERANK: ServiceClass.EMBEDDING,
}
# The bulk deadline is far, never infinite, so that laxity stays comparable.
BULK_DEADLINE_MS = 3_600_000
DEFAULT_LEVEL = {
    ServiceClass.INTERACTIVE: ServiceLevel(ttft_ms=500, tpot_ms=50),
    ServiceClass.DEFAULT: ServiceLevel(ttft_ms=2000, tpot_ms=100),
    ServiceClass.EMBEDDING: ServiceLevel(end_to_end_ms=200),
    ServiceClass.BULK: ServiceLevel(end_to_end_ms=BULK_DEADLINE_MS),
}
# The embedding target holds up to this many texts; larger requests are bulk work unless a header names a class.
EMBEDDING_TARGET_ITEMS = 32
# Priorities that OpenAI's service_tier asks for.
TIER_PRIORITY = {"priority": Priority.HIGH, "flex": Priority.LOW}


@dataclass(frozen=True, slots=True)
class ClassificationRules:
    """Settings of the classifier.

    Attributes:
        block_bytes: bytes in a prefix block; 256 are about 64 tokens.
        output_cap_tokens: longest output assumed when the caller sets no limit.
        tenant_ceilings: most urgent priority that a tenant may ask for.
    """

    block_bytes: int = 256
    output_cap_tokens: int = 512
    tenant_ceilings: Mapping[str, Priority] = field(default_factory=dict)


class RequestClassifier:
    """Classifies requests against a model catalog. Pure: the same input gives the same answer."""

    def __init__(self, extract_features: FeatureExtractor, rules: ClassificationRules | None = None) -> None:
        self._extract = extract_features
        self._rules = rules or ClassificationRules()
        self._class_ceilings: Mapping[str, ServiceClass] = {}

    def set_class_ceilings(self, ceilings: Mapping[str, ServiceClass]) -> None:
        """Lower the requests of these tenants to these classes from now on, where they are above them."""
        self._class_ceilings = ceilings

    def classify(
        self, endpoint: Endpoint, body: bytes, hints: Hints, tenant: str, catalog: ModelCatalog
    ) -> Classification:
        """Classify one request.

        Raises:
            InvalidRequestError: malformed body, or a model that does not serve the endpoint.
            NotFoundError: unknown model.
            UnavailableError: no engine serves the endpoint.
        """
        content = read_body(endpoint, body)
        entry = catalog.resolve(content.model, endpoint)
        kind = KIND_OF_ENDPOINT[endpoint]
        served = f"pools {', '.join(entry.pools)} serve" if len(entry.pools) > 1 else f"pool {entry.pool} serves"
        reasons = [f"kind {kind.name} from {endpoint.path}", f"{served} {entry.card.name}"]
        text_tokens, blocks = self._extract(content.segments, self._rules.block_bytes)
        input_tokens = max(1, text_tokens + content.given_tokens)
        service_class = self._service_class(kind, content, hints, reasons)
        if tenant in self._class_ceilings:
            service_class, hints = self._lowered(service_class, hints, tenant, reasons)
        return Classification(
            kind=kind,
            pool=entry.pool,
            model=entry.card.name,
            service_class=service_class,
            priority=self._priority(content, hints, tenant, reasons),
            slo=self._level(service_class, hints, reasons),
            input_tokens=input_tokens,
            output_tokens=self._output_tokens(kind, content, input_tokens),
            prefix_blocks=tuple(blocks) if kind in (RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE) else (),
            streaming=content.streaming,
            sheddable=service_class is ServiceClass.BULK,
            items=content.items,
            reasons=tuple(reasons),
            resumable=is_resumable(kind, content),
            most_output_tokens=_most_output_tokens(kind, content),
            session=_session(tenant, content.session),
        )

    def _service_class(self, kind: RequestKind, content: RequestBody, hints: Hints, reasons: list[str]) -> ServiceClass:
        if hints.service_class is not None:
            reasons.append(f"class {hints.service_class.name} asked for by header")
            return hints.service_class
        if hints.priority is Priority.BACKGROUND:
            reasons.append("class BULK from background priority")
            return ServiceClass.BULK
        chosen = DEFAULT_CLASS[kind]
        if chosen is ServiceClass.EMBEDDING and content.items > EMBEDDING_TARGET_ITEMS:
            reasons.append(f"class BULK from {content.items} texts, above {EMBEDDING_TARGET_ITEMS}")
            return ServiceClass.BULK
        reasons.append(f"class {chosen.name} from the kind")
        return chosen

    def _lowered(
        self, chosen: ServiceClass, hints: Hints, tenant: str, reasons: list[str]
    ) -> tuple[ServiceClass, Hints]:
        """Return a class that the tenant may have, and without the targets that are tighter than that one's."""
        ceiling = self._class_ceilings[tenant]
        if chosen >= ceiling or (chosen is ServiceClass.EMBEDDING and ceiling is not ServiceClass.BULK):
            return chosen, hints
        reasons.append(f"class {chosen.name} lowered to tenant {tenant!r}'s ceiling {ceiling.name}")
        return ceiling, replace(hints, slo_ttft_ms=0, slo_tpot_ms=0, slo_deadline_ms=0)

    def _priority(self, content: RequestBody, hints: Hints, tenant: str, reasons: list[str]) -> Priority:
        asked = hints.priority or TIER_PRIORITY.get(content.service_tier) or Priority.NORMAL
        ceiling = self._rules.tenant_ceilings.get(tenant, Priority.CRITICAL)
        if asked < ceiling:
            reasons.append(f"priority {asked.name} lowered to tenant {tenant!r}'s ceiling {ceiling.name}")
            return ceiling
        return asked

    def _level(self, service_class: ServiceClass, hints: Hints, reasons: list[str]) -> ServiceLevel:
        default = DEFAULT_LEVEL[service_class]
        if hints.slo_ttft_ms or hints.slo_tpot_ms or hints.slo_deadline_ms:
            reasons.append("targets from headers")
        return ServiceLevel(
            ttft_ms=hints.slo_ttft_ms or default.ttft_ms,
            tpot_ms=hints.slo_tpot_ms or default.tpot_ms,
            end_to_end_ms=hints.slo_deadline_ms or default.end_to_end_ms,
        )

    def _output_tokens(self, kind: RequestKind, content: RequestBody, input_tokens: int) -> int:
        if kind not in (RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE):
            return 0
        cap = self._rules.output_cap_tokens
        if content.max_tokens is not None:
            cap = min(cap, content.max_tokens)
        return max(1, min(int(1.5 * input_tokens), cap)) * content.choices * content.items


def _most_output_tokens(kind: RequestKind, content: RequestBody) -> int:
    """Return the caller's limit on the output of all choices; 0 for none, or one that is no number on the wire."""
    if content.max_tokens is None or kind not in (RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE):
        return 0
    return min(content.max_tokens * content.choices * content.items, INT32)


def _session(tenant: str, key: str) -> int:
    """Return the hash by which a session is known; 0 without a key. Two tenants' equal keys are two sessions."""
    if not key:
        return 0
    named = f"{len(tenant)}:{tenant}{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "big") or 1


def is_resumable(kind: RequestKind, content: RequestBody) -> bool:
    """Return whether another engine could continue the answer: it is one plain text that follows one prompt of text."""
    generated = kind in (RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE)
    return generated and not content.structured and content.items == 1 and not content.given_tokens
