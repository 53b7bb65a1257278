"""Expected length of answers, in tokens."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque

from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.request.request import Classification, RequestKind, ServiceClass

# Callers name tenants, so the number of keys must be bounded; the least recently used is dropped.
MOST_KEYS = 10_000

GENERATES = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})


_Key = tuple[str | None, str, ServiceClass, int]


class _Lengths:
    """A quantile of the latest lengths."""

    __slots__ = ("latest", "ordered")

    def __init__(self) -> None:
        self.latest: deque[int] = deque()
        self.ordered: list[int] = []

    def add(self, tokens: int, most: int) -> None:
        self.latest.append(tokens)
        insort(self.ordered, tokens)
        if len(self.latest) > most:
            del self.ordered[bisect_left(self.ordered, self.latest.popleft())]


class OutputLengths:
    """Expected output tokens by tenant, model, class and the limit that the caller sets.

    A tenant's chats do not predict its batches, and whoever allows 2,000 tokens does not expect 20. Limits are grouped
    by powers of two. Until enough is known of a tenant, what is known of all of them counts.
    """

    def __init__(self, settings: PredictionSettings) -> None:
        self._settings = settings
        self._lengths: OrderedDict[_Key, _Lengths] = OrderedDict()

    def expected(self, tenant: str, classification: Classification) -> int:
        """Return the learned quantile, or the classifier's estimate until there is one; at most the caller's limit."""
        if not self._lengths or classification.kind not in GENERATES:
            return classification.output_tokens
        for key in _keys(tenant, classification):
            lengths = self._lengths.get(key)
            if lengths is not None and len(lengths.ordered) >= self._settings.least_output_samples:
                expected = lengths.ordered[int(self._settings.output_quantile * (len(lengths.ordered) - 1))]
                return min(expected, classification.most_output_tokens or expected)
        return classification.output_tokens

    def learn(self, tenant: str, classification: Classification, tokens: int | None) -> None:
        """Learn from the length of a complete answer; None is not learned from."""
        if tokens is None or classification.kind not in GENERATES:
            return
        for key in _keys(tenant, classification):
            lengths = self._lengths.get(key)
            if lengths is None:
                lengths = self._lengths[key] = _Lengths()
                if len(self._lengths) > MOST_KEYS:
                    self._lengths.popitem(last=False)
            else:
                self._lengths.move_to_end(key)
            lengths.add(tokens, self._settings.output_samples)


def _keys(tenant: str, classification: Classification) -> tuple[_Key, _Key]:
    """Return the key of the tenant's own lengths, and of everybody's."""
    shared = (classification.model, classification.service_class, classification.most_output_tokens.bit_length())
    return (tenant, *shared), (None, *shared)
