"""Learns latencies, paces and prices from the attempts on a pool's engines."""

from __future__ import annotations

from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.prediction.latency import Load
from sage_control_plane.prediction.latency_fits import LatencyFits, prompt_weight
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.prediction.prices import Prices
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.request.request import PendingRequest

# Assumed pace before anything has been measured: 1,000 tokens a second.
FIRST_PACE = 1e-3
# Shorter answers say little about the time between tokens.
LEAST_TPOT_TOKENS = 8
# In pools of more engines than this, what is typical is learned from a part of the samples.
ENGINES_SAMPLED = 8

_NO_LOAD = Load()


class PoolLearning:
    """The fits of a pool, over all its engines.

    Attributes:
        fits: of latencies.
        prices: engine-seconds of a token, by route.
    """

    def __init__(self, settings: PredictionSettings) -> None:
        self._settings = settings
        self.fits = LatencyFits(settings)
        self._pace = Pace()
        self.prices = Prices()

    # Predictions

    @property
    def errors(self) -> dict[str, float | None]:
        """MAPE of each predicted quantity; None while it has not been predicted."""
        return self.fits.errors

    @property
    def first_seconds_per_token(self) -> float:
        """Expected pace of a new engine, in seconds per token."""
        return self._pace.seconds_per_token(FIRST_PACE)

    def new_forecast(self) -> Forecast:
        """Make the forecast of a new engine."""
        return Forecast(self._settings, self.fits)

    def usual_ttft_seconds(self, request: PendingRequest) -> float | None:
        """Return the expected seconds to first token on an idle engine; None without a trusted prediction."""
        classification = request.classification
        fit = self.fits.ttft(classification.generates)
        return fit.seconds(classification.input_tokens, _NO_LOAD) if fit.trusted else None

    def patience_seconds(self, request: PendingRequest) -> float:
        """Return for how long a request can wait for its seat and begin in time; 0 without a target."""
        target = request.classification.begin_target_seconds
        return 0.0 if target is None else max(0.0, target - (self.usual_ttft_seconds(request) or 0.0))

    def hold_seconds(self, entry: EngineEntry, attempt: DispatchedAttempt) -> float | None:
        """Return the expected time for which an attempt holds its seat; None without a trusted prediction."""
        forecast, request = entry.forecast, attempt.request
        if request is None:
            return None
        generates = request.classification.generates
        ttft = forecast.ttft_seconds(generates, attempt.uncached_tokens)
        if ttft is None or not generates:
            return ttft
        step = forecast.step_seconds(forecast.decoding + 1)
        return None if step is None else ttft + attempt.output_tokens * step

    def queued_tokens(self, generates: bool, uncached_tokens: float) -> int:
        """Return what a prompt adds to its engine's queue, in tokens of generating work; at least 1."""
        # Rounded, so that sums return to exactly 0.
        return round(uncached_tokens * prompt_weight(self.fits, generates)) or 1

    # Samples

    def resize(self, engines: int) -> None:
        """Set the number of engines; beyond ``ENGINES_SAMPLED`` the pool's fits learn from a part of the samples."""
        self.fits.every = 1 + engines // ENGINES_SAMPLED

    def first_token(self, entry: EngineEntry, attempt: DispatchedAttempt, ttft_seconds: float) -> None:
        """Learn from an attempt's time to first token, if its answer shows when its prompt is computed."""
        request = attempt.request
        if request is not None and not attempt.adopted and request.classification.shows_beginning:
            generates = request.classification.generates
            entry.forecast.learn_ttft(generates, attempt.uncached_tokens, attempt.load_at_dispatch, ttft_seconds)

    def overdue(self, entry: EngineEntry, attempt: DispatchedAttempt, now: float) -> None:
        """Learn from an attempt aborted before its first token: its time to first token exceeds the time waited."""
        request, waited = attempt.request, now - attempt.dispatched_at
        if request is None or attempt.adopted or not request.classification.shows_beginning:
            return
        if waited > (attempt.predicted_ttft or 0.0):
            generates = request.classification.generates
            entry.forecast.learn_ttft(generates, attempt.uncached_tokens, attempt.load_at_dispatch, waited)

    def prefilled(self, entry: EngineEntry, attempt: DispatchedAttempt, request: PendingRequest) -> None:
        """Learn the price of a computed prompt. Requires the forecast's ``advance`` before."""
        forecast, generates = entry.forecast, request.classification.generates
        price = forecast.seconds_per_input_token(generates)
        if price:
            self.prices.learn_input(request.classification.route, price)
        forecast.computed(generates, attempt.uncached_tokens)

    def finished(self, entry: EngineEntry, attempt: DispatchedAttempt, now: float, output_tokens: int | None) -> None:
        """Learn from a complete answer that is still on its engine."""
        forecast = entry.forecast
        forecast.advance(now)
        seconds = now - attempt.dispatched_at
        self._pace.record(attempt.tokens, seconds)
        entry.pace.record(attempt.tokens, seconds)
        entry.seconds_per_token = entry.pace.seconds_per_token(self.first_seconds_per_token)
        request, begin = attempt.request, attempt.counters_at_begin
        if output_tokens is None:
            entry.untold_answers += bool(attempt.decoding)
            return
        entry.untold_answers = 0
        if output_tokens < LEAST_TPOT_TOKENS:
            return
        if not attempt.decoding or request is None or now <= begin.at:
            return
        classification = request.classification
        if classification.shows_beginning:
            forecast.learn_answer(begin, output_tokens)
        # An error in a beginning that is only assumed is small beside the whole answer.
        self.prices.learn_output(classification.route, output_tokens, forecast.share_since(begin))
