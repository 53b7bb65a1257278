"""Which backends and precisions may run a model on this machine, and which of those that were tried is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sage_embed_executor.backends.registry import AUTO, BACKENDS, problem_with
from sage_embed_executor.exports.export_form import Precision

# Vectors in bf16 (cosine 0.9999 to fp32) differ by less than a change of library does in rankings; those in int8 (0.99)
# by enough that it has to be configured.
AUTO_PRECISIONS = (Precision.FP32, Precision.BF16)
# Least cosine to fp32 of any calibration text.
LEAST_COSINE = {Precision.FP32: 0.99999, Precision.BF16: 0.99, Precision.INT8: 0.99}
# Least speed-up over the best fp32 for which a reduced precision is chosen.
MIN_SPEEDUP = 1.1
# Speed-up of a reduced precision over fp32 above which the other backends are not tried in fp32: these are within a
# third of each other, and an export takes longer than a trial.
OUTPACING_SPEEDUP = 1.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend at a precision."""

    backend: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend} {self.precision.value}"


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of trying a candidate.

    Attributes:
        problem: why it cannot serve; empty when it ran.
        tokens_per_second: without padding, of a mix of lengths, with every stream, at the best token budget.
        token_budget: that budget, in tokens with padding.
        cosine: the least of any calibration text to its vector in fp32.
        memory_mb: resident memory that loading and running it took, frameworks included.
        disk: whether the problem is that an export could not be written.
        transient: whether the problem may be gone at the next start.
    """

    candidate: Candidate
    problem: str = ""
    tokens_per_second: float = 0.0
    token_budget: int = 0
    cosine: float = 0.0
    memory_mb: int = 0
    disk: bool = False
    transient: bool = False

    @property
    def passes(self) -> bool:
        """Whether it ran and its vectors are close enough to fp32."""
        return not self.problem and self.cosine >= LEAST_COSINE[self.candidate.precision]

    def __str__(self) -> str:
        if self.problem:
            return f"{self.candidate}: {self.problem}"
        verdict = "" if self.passes else f", below {LEAST_COSINE[self.candidate.precision]}"
        return f"{self.candidate}: {self.tokens_per_second:.0f} tokens/s, cosine {self.cosine:.5f}{verdict}"


@dataclass(frozen=True, slots=True)
class Selection:
    """The candidate that was chosen, and the trials that led to it.

    Attributes:
        measured: False where there was only one candidate, so that none was tried.
    """

    candidate: Candidate
    token_budget: int
    tokens_per_second: float = 0.0
    cosine: float = 1.0
    memory_mb: int = 0
    measured: bool = False
    trials: tuple[Trial, ...] = field(default=())


def candidates(backend: str, precision: str) -> tuple[list[Candidate], list[str]]:
    """Return the installed candidates that the settings allow, fp32 first, and why others are missing."""
    allowed = AUTO_PRECISIONS if precision == AUTO else (Precision(precision),)
    names = list(BACKENDS) if backend == AUTO else [backend]
    found, problems = [], []
    for wanted in sorted(allowed, key=list(Precision).index):
        for name in names:
            if problem := problem_with(name, wanted):
                # That a backend lacks a precision matters only where both are configured.
                if wanted in BACKENDS[name].precisions or (backend != AUTO and precision != AUTO):
                    problems.append(f"{name}: {problem}")
            else:
                found.append(Candidate(name, wanted))
    return found, list(dict.fromkeys(problems))


def choose(trials: Iterable[Trial]) -> Trial | None:
    """Return the fastest trial that passes, or None; a reduced precision only with ``MIN_SPEEDUP`` over fp32."""
    passing = [trial for trial in trials if trial.passes]
    exact = [trial for trial in passing if trial.candidate.precision is Precision.FP32]
    floor = MIN_SPEEDUP * max((trial.tokens_per_second for trial in exact), default=0.0)
    reduced = [t for t in passing if t.candidate.precision is not Precision.FP32 and t.tokens_per_second >= floor]
    return max(reduced or exact, key=lambda trial: trial.tokens_per_second, default=None)


def outpaced(trials: Iterable[Trial]) -> str:
    """Return why no further backend needs to be tried in fp32; empty while one may still be chosen."""
    passing = sorted((t for t in trials if t.passes), key=lambda trial: -trial.tokens_per_second)
    exact = next((trial for trial in passing if trial.candidate.precision is Precision.FP32), None)
    reduced = next((trial for trial in passing if trial.candidate.precision is not Precision.FP32), None)
    if exact is None or reduced is None or reduced.tokens_per_second < OUTPACING_SPEEDUP * exact.tokens_per_second:
        return ""
    times = reduced.tokens_per_second / exact.tokens_per_second
    return f"not tried, {reduced.candidate} is {times:.1f} times as fast as {exact.candidate}"
