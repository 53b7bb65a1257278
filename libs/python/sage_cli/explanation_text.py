"""An explanation of a request's decisions, for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sage_cli.fitted_tables import Column, fitted
from sage_client.management.views import (
    CandidateView,
    ClassificationView,
    DispatchView,
    Explanation,
    RoutedModelView,
)

# More candidates than this say little; they are ordered by what the picker looked at.
MOST_CANDIDATES = 8
DISPATCH_COLUMNS = (
    Column("try"),
    Column("at", right=True),
    Column("engine"),
    Column("first token", wrap=True),
    Column("considered (score)", wrap=True),
    Column("failed", wrap=True),
)
_STYLE = {"finished": "green", "running": "cyan", "queued": "cyan"}


def explanation_text(explanation: Explanation, width: int) -> RenderableType:
    """Render one scheduler's explanation in ``width`` columns: a headline, the facts, a line for each dispatch."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(explanation):
        facts.add_row(name, Text(value))
    parts: list[RenderableType] = [_headline(explanation), facts]
    if explanation.dispatches:
        shown = DISPATCH_COLUMNS if any(one.error_code for one in explanation.dispatches) else DISPATCH_COLUMNS[:-1]
        parts += fitted(width, shown, [_dispatch_row(one)[: len(shown)] for one in explanation.dispatches])
    return Group(*parts)


def _headline(explanation: Explanation) -> Text:
    headline = Text.assemble(
        (explanation.request_id, "bold"), "  ", (explanation.state, _STYLE.get(explanation.state, "red"))
    )
    if explanation.engine_id:
        headline.append(f" on {explanation.engine_id}")
    return headline.append(f", {_duration(explanation.age_ms)} ago")


def _facts(explanation: Explanation) -> list[tuple[str, str]]:
    facts = []
    if explanation.correlation_id is not None:
        facts.append(("caller's id", explanation.correlation_id))
    if explanation.error_code:
        facts.append(("why", f"{explanation.error_message} ({explanation.error_code})"))
    if explanation.routed is not None:
        facts.append(("model", _routed(explanation.routed)))
        facts += [
            (
                "fell back",
                f"from {each.model} on {each.reason.replace('_', ' ')}: {each.error_message} ({each.error_code})",
            )
            for each in explanation.routed.failed
        ]
    if explanation.classification is not None:
        facts += _request(explanation.tenant, explanation.classification)
    policy = f"{explanation.policy}, band {explanation.band}" if explanation.band else explanation.policy
    facts.append(("decided by", f"{explanation.scheduler_id}{f', policy {policy}' if policy else ''}"))
    facts.append(("queued", _duration(explanation.queue_ms)))
    if explanation.predicted_ttft_ms is not None or explanation.actual_ttft_ms is not None:
        facts.append(
            ("first token", f"{_or_unknown(explanation.actual_ttft_ms)}, {_prediction(explanation.predicted_ttft_ms)}")
        )
    if explanation.interruptions:
        times = "once" if explanation.interruptions == 1 else f"{explanation.interruptions} times"
        facts.append(("interrupted", f"{times}, for more urgent work; it went on from what it had"))
    if explanation.ended_after_ms is not None:
        facts.append(("ended after", _duration(explanation.ended_after_ms)))
    return facts


def _routed(routed: RoutedModelView) -> str:
    """Return the name that the caller used, and the way from it."""
    further = routed.path[1:]
    return f"asked for as {routed.name}{''.join(f', then {name}' for name in further)}"


def _request(tenant: str, request: ClassificationView) -> list[tuple[str, str]]:
    tokens = f"{request.input_tokens} tokens in, {request.output_tokens} expected out"
    targets = [
        f"{name} {_duration(ms)}"
        for name, ms in (
            ("first token", request.slo_ttft_ms),
            ("between tokens", request.slo_tpot_ms),
            ("whole answer", request.slo_end_to_end_ms),
        )
        if ms
    ]
    facts = [
        ("request", f"{request.kind} for {request.model} by {tenant}, {tokens}"),
        ("class", f"{request.service_class}, priority {request.priority}; {', '.join(targets) or 'no target'}"),
    ]
    if request.reasons:
        facts.append(("because", "; ".join(request.reasons)))
    return facts


def _cached(candidate: CandidateView) -> str:
    return f", {candidate.cached_share:.0%} cached" if candidate.cached_share else ""


def _dispatch_row(dispatch: DispatchView) -> tuple[str | Text, ...]:
    considered = [f"{c.engine_id} ({c.score:.3f}{_cached(c)})" for c in dispatch.candidates[:MOST_CANDIDATES]]
    if len(dispatch.candidates) > MOST_CANDIDATES:
        considered.append(f"and {len(dispatch.candidates) - MOST_CANDIDATES} more")
    return (
        f"{dispatch.tries} (hedge)" if dispatch.hedge else str(dispatch.tries),
        _duration(dispatch.at_ms),
        dispatch.engine_id,
        _prediction(dispatch.predicted_ttft_ms),
        ", ".join(considered),
        Text(f"{dispatch.error_message} ({dispatch.error_code})" if dispatch.error_code else "", style="red"),
    )


def _prediction(milliseconds: float | None) -> str:
    return "no prediction" if milliseconds is None else f"predicted {_duration(milliseconds)}"


def _or_unknown(milliseconds: float | None) -> str:
    return "none yet" if milliseconds is None else _duration(milliseconds)


def _duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min"
