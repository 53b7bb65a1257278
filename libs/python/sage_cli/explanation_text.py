"""A decision, told to people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sage_client.management.results import ClassificationView, DispatchView, Explanation

# More candidates than this say little; they are ordered by what the picker looked at.
MOST_CANDIDATES = 8
_STYLE = {"finished": "green", "running": "cyan", "queued": "cyan"}


def explanation_text(told: Explanation) -> RenderableType:
    """Render one scheduler's explanation: a headline, the facts, a line for each dispatch."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(told):
        facts.add_row(name, Text(value))
    parts: list[RenderableType] = [_headline(told), facts]
    if told.dispatches:
        parts.append(_dispatches(told.dispatches))
    return Group(*parts)


def _headline(told: Explanation) -> Text:
    headline = Text.assemble((told.request_id, "bold"), "  ", (told.state, _STYLE.get(told.state, "red")))
    if told.engine_id:
        headline.append(f" on {told.engine_id}")
    return headline.append(f", {_duration(told.age_ms)} ago")


def _facts(told: Explanation) -> list[tuple[str, str]]:
    facts = []
    if told.error_code:
        facts.append(("why", f"{told.error_message} ({told.error_code})"))
    if told.classification is not None:
        facts += _request(told.tenant, told.classification)
    policy = f"{told.policy}, band {told.band}" if told.band else told.policy
    facts.append(("decided by", f"{told.scheduler_id}{f', policy {policy}' if policy else ''}"))
    facts.append(("queued", _duration(told.queue_ms)))
    if told.predicted_ttft_ms is not None or told.actual_ttft_ms is not None:
        facts.append(("first token", f"{_or_unknown(told.actual_ttft_ms)}, {_prediction(told.predicted_ttft_ms)}"))
    if told.ended_after_ms is not None:
        facts.append(("ended after", _duration(told.ended_after_ms)))
    return facts


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


def _dispatches(dispatches: tuple[DispatchView, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("try", "at", "engine", "first token", "considered (score)", "failed"):
        table.add_column(name, overflow="fold", justify="right" if name == "at" else "left")
    for dispatch in dispatches:
        considered = [f"{c.engine_id} ({c.score:.3f})" for c in dispatch.candidates[:MOST_CANDIDATES]]
        if len(dispatch.candidates) > MOST_CANDIDATES:
            considered.append(f"and {len(dispatch.candidates) - MOST_CANDIDATES} more")
        table.add_row(
            f"{dispatch.tries} (hedge)" if dispatch.hedge else str(dispatch.tries),
            _duration(dispatch.at_ms),
            Text(dispatch.engine_id),
            _prediction(dispatch.predicted_ttft_ms),
            Text(", ".join(considered)),
            Text(f"{dispatch.error_message} ({dispatch.error_code})" if dispatch.error_code else "", style="red"),
        )
    return table


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
