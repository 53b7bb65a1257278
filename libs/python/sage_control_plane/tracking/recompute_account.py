"""The account of interruptions: what engines compute again for them, and for how many the budget is planned."""

from __future__ import annotations

from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.kept_answers import KeptAnswers
from sage_control_plane.request.request import TokensUsed
from sage_control_plane.tracking.decision_outbox import Totals
from sage_control_plane.tracking.recompute_budget import RecomputeBudget
from sage_control_plane.tracking.settings import InterruptionSettings


class RecomputeAccount:
    """Pays interruptions from the budget, and corrects what was paid when an answer has gone on.

    Args:
        kept: what engines keep of stopped answers.
        totals: where recomputed tokens are counted.
    """

    def __init__(self, kept: KeptAnswers, totals: Totals, settings: InterruptionSettings) -> None:
        self.budget = RecomputeBudget(settings.ratio, settings.window_seconds, settings.floor_tokens)
        self.kept = kept
        self._totals = totals

    def went_on(self, attempt: DispatchedAttempt, used: TokensUsed, now: float) -> None:
        """Count, once, what an answer that was stopped made its engine compute again, and learn from it."""
        if attempt.request is None or (kept := self.kept.pop(attempt.request_id)) is None:
            return
        recomputed = attempt.uncached_tokens if used.recomputed is None else used.recomputed
        self._totals.recomputed_tokens += round(recomputed)
        self.budget.correct(kept.charged_tokens, recomputed, now)
        if used.input and used.recomputed is not None and attempt.engine_id == kept.engine_id:
            model = attempt.request.classification.model
            self.kept.learn(attempt.engine_id, model, used.recomputed / used.input)

    def per_second(self, now: float, hold_seconds: float) -> float:
        """Return for how many seats a second others may plan, over the time for which one of them is held.

        All that is left of the budget may be spent in that time: the less is left, the fewer are planned for.
        """
        return self.budget.interruptions_left(now, self.kept.usual_share) / hold_seconds
