"""An upper bound on the requests that any order of service can serve within their targets.

All lengths are known. Let S be the requests that some schedule serves within their targets, on E engines.

1. *Work.* The engines spend the uncached part of its prompt, in engine-seconds, on each request of S, and a part of
   their steps on each token after the first: a step that decodes b sequences takes ``base + per * b``. K steps that
   decode M tokens take ``K base + per M``, and no batch exceeds the seats, so ``K >= M / seats``.
2. *TPOT limits the batch.* The steps of a request with a TPOT target T take at most T on average. So over any set of
   such requests ``sum b_k (base + per b_k) <= T M``, b_k counting the set's sequences alone. With Cauchy and Schwarz,
   that is ``M^2 <= K sum b_k^2``: ``K >= M / n``, where n is the batch whose steps take T. So M tokens of requests with
   a TPOT of at most T take at least ``M (per + base / n)``, and other tokens in the same steps at least ``per`` each.
3. *Intervals.* The prompt of a request of S is computed between its arrival and its TTFT target; its tokens are decoded
   between the earliest end of its prompt and the latest end that its targets allow. So for every interval [s, t] the
   pieces of work of S that lie in it altogether take at most ``E (t - s)``. The steps that decode them lie in the
   interval too, so the prices of 1 and 2 hold within it.
4. *Seats.* A sequence keeps its seat from the beginning of its prompt to its end, and takes ``base + per`` for a token
   at least. So a request of S holds a seat from the latest moment at which its prompt can begin to the earliest at
   which its answer can be complete, where the one comes before the other. At no moment are there more than the seats.

The bound is the largest ``sum x_i`` with ``0 <= x_i <= 1`` under 3 and 4, a linear program. It serves requests in
fractions, lets work be preempted and shared between engines at no cost, lets every step have its best batch and no
prompt delay another's tokens, and has the prefix cache full from the beginning; none of this holds for a real schedule.

Inequalities are added where they are violated. Leaving some out only raises the bound, so it may stop at any time. What
is returned is the value of the dual program, which bounds the primal for any non-negative multipliers: nothing rests on
how exactly the solver solves.

It holds where answers other than bulk work end where they began: 4 does not count bulk work, which may be stopped and
go on later. Each time it is, one of its tokens comes from a prompt and not from a step; what is computed again
outweighs that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, vstack

from sage_benchmark.bound.demand import Demand, Flags, Floats
from sage_benchmark.bound.inequalities import Inequalities, SeatsAtMoments, WorkInIntervals

MOST_ROUNDS = 40
# Share of the requests by which the bound falls in a round that is worth another, after the first few.
LEAST_GAIN = 2e-4
FIRST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound on the requests served within their targets.

    Attributes:
        shares: of each request, that the program serves: those that are worth serving, as far as it knows.
    """

    requests: int
    shares: Floats


def most_within_targets(demand: Demand, engines: int, counted: Flags | None = None) -> Bound:
    """Bound the requests that any order can serve within their targets on ``engines`` engines.

    Args:
        counted: for each request whether it counts; others are not served at all. None: all do.
    """
    possible = demand.possible if counted is None else demand.possible & counted
    value = possible.astype(np.float64)
    kinds: list[Inequalities] = [SeatsAtMoments(demand.residence, possible, engines * demand.seats)]
    for family in demand.families:
        pieces = family.of(possible)
        if len(pieces.work):
            kinds.append(WorkInIntervals.of(pieces, engines, len(value)))
    bound, share = float(value.sum()), value
    rows: list[csr_matrix] = []
    limits: list[float] = []
    for number in range(MOST_ROUNDS):
        found = [inequality for kind in kinds for inequality in kind.violated(share)]
        if not found:
            break
        rows += [csr_matrix(inequality.coefficients) for inequality in found]
        limits += [inequality.limit for inequality in found]
        matrix, most = vstack(rows, format="csr"), np.array(limits)
        solved = linprog(-value, A_ub=matrix, b_ub=most, bounds=(0.0, 1.0), method="highs")
        if solved.status != 0:
            break
        multipliers = np.maximum(0.0, -solved.ineqlin.marginals)
        dual = float(multipliers @ most + np.maximum(0.0, value - matrix.T @ multipliers).sum())
        gain, bound, share = bound - dual, min(bound, dual), np.asarray(solved.x)
        if gain < LEAST_GAIN * len(value) and number >= FIRST_ROUNDS:
            break
    return Bound(math.floor(bound + 1e-6), share)
