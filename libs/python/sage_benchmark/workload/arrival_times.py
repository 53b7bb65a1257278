"""When requests arrive: a renewal process with gamma-distributed gaps, of which Poisson's is the case CV 1."""

from __future__ import annotations

import random
from collections.abc import Iterator

POISSON = 1.0
BURSTY = 3.0


def arrival_times(rng: random.Random, rate: float, duration: float, cv: float = POISSON) -> Iterator[float]:
    """Yield increasing times in seconds from 0 up to ``duration``.

    Args:
        rate: mean arrivals a second, > 0.
        cv: coefficient of variation of the gaps, > 0; 1 is Poisson, 3 comes in bursts.

    Raises:
        ValueError: ``rate`` or ``cv`` out of range.
    """
    if rate <= 0 or cv <= 0:
        raise ValueError(f"rate {rate} and cv {cv} must both be above 0")
    shape = 1 / cv**2
    scale = cv**2 / rate
    # The run starts at a random moment of a process that has always been going on: inside a gap that is likelier to be
    # a long one (length-biased, so gamma with shape + 1), at a uniform place of it. For Poisson that is a gap again.
    at = rng.random() * rng.gammavariate(shape + 1, scale)
    while at < duration:
        yield at
        at += rng.gammavariate(shape, scale)
