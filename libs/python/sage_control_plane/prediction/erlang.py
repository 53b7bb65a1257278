"""How many seats a stream of requests needs: Erlang's question, for requests that can wait a little.

Requests arrive at a rate, hold a seat for a time, and are of use only if they get one within their patience. With
Poisson arrivals and exponential holding times that is the queue M/M/n+D (Barrer, Queuing with Impatient Customers and
Ordered Service, 1957), in closed form also where the load exceeds the seats. Arrivals in bursts are scaled to
equivalent Poisson ones by their peakedness (Hayward's approximation; Fredericks, Congestion in Blocking Systems, 1980).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import exp

# Larger systems are scaled down to this load, in erlangs: relative spread falls with size, so that errs to more seats.
MOST_LOAD = 100.0


def losses(load: float, patience: float) -> Iterator[float]:
    """Yield the share of requests that get no seat in time with 0, 1, 2 … seats.

    Args:
        load: offered, in erlangs: arrival rate times mean holding time.
        patience: how long a request can wait, in mean holding times.
    """
    yield 1.0
    # The probability of n - 1 busy seats, as a ratio to that of fewer than n: Erlang's recursion.
    full = 1.0
    seats = 0
    while True:
        seats += 1
        surplus = load - seats
        exponent = surplus * patience
        grown = exp(min(exponent, 500.0))
        # Density of the wait at 0 is load * full; it grows or falls exponentially up to the patience.
        waiting = patience if abs(surplus) < 1e-9 else (grown - 1.0) / surplus
        beyond = grown / seats
        yield load * full * beyond / (1.0 + load * full * (waiting + beyond))
        full = load * full / (seats + load * full)


def seats_worth_keeping(
    load: float,
    hold_seconds: float,
    patience_seconds: float,
    most: int,
    peakedness: float,
    affordable_per_second: float,
    absorbed_per_second: float = 0.0,
) -> int:
    """Return how many seats to leave to a stream, so that taking one more from it costs less than is affordable.

    With fewer seats more requests are late; the fewer there are, the more does each further one cost.

    Args:
        load: offered, in erlangs.
        hold_seconds: mean time that a request of the stream holds a seat.
        patience_seconds: how long one can wait for it.
        most: seats that there are.
        peakedness: variance to mean of the seats that the stream would hold if there were always one; 1 for Poisson.
        affordable_per_second: requests that one seat less may make late, a second.
        absorbed_per_second: requests for which a seat can be freed where they would be late, a second.
    """
    if load <= 0.0 or most <= 0:
        return 0
    scale = max(1.0, peakedness, load / MOST_LOAD)
    units = max(1, int(most / scale))
    arriving = load / hold_seconds
    late = list(islice(losses(load / scale, patience_seconds / hold_seconds), units + 1))
    unavoidable = late[-1]
    for unit in range(units):
        # A unit of ``scale`` seats more spares so many requests.
        costs = arriving * (late[unit] - late[unit + 1]) / scale
        if costs <= affordable_per_second or arriving * (late[unit] - unavoidable) <= absorbed_per_second:
            return min(most, int(unit * scale + 0.999))
    return most
