"""``/pipelines/new``: a pipeline as text, checked as it is written, its graph, and forms for its operators."""

from __future__ import annotations

from typing import Any

import yaml
from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement
from starlette.requests import Request
from starlette.responses import Response

from sage_common.errors import SageError
from sage_kernel.plot.drawing import draw
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.run_target import RunTarget
from sage_kernel.spec import PipelineSpec
from sage_kernel.validation import from_yaml
from sage_studio.operator_forms import FormField, OperatorForm, node_text, operator_forms, with_node
from sage_studio.pages.frame import frame
from sage_studio.sample_pipeline import sampled
from sage_studio.visit import Visit, Visits

# Checked once nothing has been typed for so long.
QUIET_SECONDS = 0.3
SHOWN_PROBLEMS = 12
EXAMPLE = """apiVersion: sage/v1
kind: Pipeline
metadata: {name: summaries, version: 1}
nodes:
  notes:
    op: source
    records:
      - {id: ring, text: "A request travels one way round a ring. Nobody waits for an answer from the next stage."}
      - {id: edge, text: "The edge owns a request until it has delivered its last frame."}
  summary:
    op: llm
    in: [notes]
    prompt: "Say in five words: {text}"
    max_tokens: 30
    on_error: dlq
  out:
    op: sink
    in: [summary]
    uri: collection:summaries
"""


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/pipelines/new")
    async def pipeline_editor_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/pipelines", "A pipeline"):
            _Editor(visit)
        return None


class _Editor:
    def __init__(self, visit: Visit) -> None:
        self._jobs = visit.access.jobs
        self._forms = operator_forms()
        self._spec: PipelineSpec | None = None
        with ui.element("div").classes("editor"):
            with ui.element("section").classes("card"):
                self._text = ui.codemirror(EXAMPLE, language="YAML", line_wrapping=True).classes("code")
                with ui.element("div").classes("row-line").style("margin-top: 12px"):
                    self._op = ui.select(list(self._forms), value="map", label="Operator").props("dense outlined")
                    ui.button("Add", icon="add", on_click=self._add).props("flat no-caps")
                    self._try = ui.button("Try a sample", on_click=self._sample).props("flat no-caps").classes("right")
                    self._try.tooltip("Runs on the mesh and writes nothing: shows the records at every node")
                    self._submit = ui.button("Submit as a job", on_click=self._send).props("no-caps unelevated")
            with ui.element("section").classes("card"):
                self._verdict = ui.label().classes("section").props('role="status"')
                self._faults = ui.element("div")
                self._graph = ui.mermaid("flowchart LR", config={"theme": "neutral"}).classes("dag")
        self._seen = EXAMPLE
        self._checked = ""
        ui.timer(QUIET_SECONDS, self._look)

    def _look(self) -> None:
        text = self._text.value or ""
        if text == self._seen and text != self._checked:
            self._checked = text
            self._validate()
        self._seen = text

    def _validate(self) -> None:
        problems: tuple[Problem, ...] = ()
        try:
            self._spec = from_yaml(self._text.value or "", target=RunTarget("mesh"))
        except PipelineInvalidError as error:
            self._spec = None
            problems = error.problems
        for button in (self._submit, self._try):
            button.set_enabled(self._spec is not None)
        self._faults.clear()
        count = len(problems)
        self._verdict.set_text("valid" if not count else f"{count} error{'s' if count > 1 else ''}")
        self._verdict.classes(add="bad" if count else "good", remove="good" if count else "bad")
        with self._faults:
            for problem in problems[:SHOWN_PROBLEMS]:
                short = problem.shortened()
                with ui.element("div").classes("fault"):
                    ui.label(".".join(filter(None, (short.node, short.field))) or "pipeline").classes("who")
                    ui.label(f"{short.message}; {short.remedy}")
        if self._spec is not None:
            # The graph of the last text that was valid stays while the next one is written.
            self._graph.set_content(draw(self._spec, ".mmd"))

    async def _add(self) -> None:
        form = self._forms[str(self._op.value)]
        nodes = list(self._spec.nodes) if self._spec is not None else _node_names(self._text.value or "")
        node = await _node_dialog(form, nodes)
        if node is not None:
            self._text.set_value(with_node(self._text.value or "", node))

    async def _sample(self) -> None:
        try:
            text, _ = sampled(self._text.value or "")
        except PipelineInvalidError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        await self._run(text)

    async def _send(self) -> None:
        await self._run(self._text.value or "")

    async def _run(self, text: str) -> None:
        try:
            job = await self._jobs.submit(text)
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True, timeout=15_000, close_button="Close")
            return
        ui.navigate.to(f"/jobs/{job.job_id}")


def _node_names(text: str) -> list[str]:
    try:
        nodes = yaml.safe_load(text)["nodes"]
        return [str(name) for name in nodes]
    except (yaml.YAMLError, TypeError, KeyError):
        return []


async def _node_dialog(form: OperatorForm, nodes: list[str]) -> str | None:
    """Ask for the parameters of a new node; return its text, or None where none is wanted."""
    entered: dict[str, ValueElement[Any]] = {}
    with ui.dialog() as dialog, ui.card().classes("form"):
        ui.label(f"{form.op}: {form.text}").classes("muted")
        name = ui.input("Name of the node", value=_free_name(form.op, nodes)).props("dense outlined")
        inputs = ui.select(nodes, value=nodes[-1:], multiple=True, label="Input").props("dense outlined use-chips")
        inputs.set_visibility(form.takes_input)
        with ui.element("div").classes("form").style("max-height: 46vh; overflow-y: auto; width: 100%"):
            for field in form.fields:
                entered[field.name] = _entry(field)
        problem = ui.label().classes("bad").props('role="alert"')

        def add() -> None:
            try:
                values = {field.name: _value(field, entered[field.name].value) for field in form.fields}
            except yaml.YAMLError as error:
                problem.set_text(f"a value is no YAML: {str(error).partition(chr(10))[0]}")
                return
            given = {
                field.name: values[field.name]
                for field in form.fields
                if values[field.name] is not None and (field.required or values[field.name] != field.default)
            }
            chosen = list(inputs.value or []) if form.takes_input else []
            dialog.submit(node_text(name.value or form.op, form.op, chosen, given))

        with ui.element("div").classes("row-line right"):
            ui.button("Leave it", on_click=lambda: dialog.submit(None)).props("flat no-caps")
            ui.button("Add to the text", on_click=add).props("unelevated no-caps")
    text = await dialog
    dialog.delete()
    return text if isinstance(text, str) else None


def _entry(field: FormField) -> ValueElement[Any]:
    label = field.name if field.required else f"{field.name} (optional)"
    if field.kind == "choice":
        return ui.select(list(field.choices), value=field.default, label=label).props("dense outlined")
    if field.kind == "switch":
        return ui.switch(field.name, value=bool(field.default))
    if field.kind in ("whole", "number"):
        return ui.number(label, value=field.default).props("dense outlined clearable")
    if field.kind == "yaml":
        return ui.textarea(f"{label}, YAML").props("dense outlined autogrow rows=1")
    return ui.textarea(label, value=field.default or "").props("dense outlined autogrow rows=1")


def _value(field: FormField, entered: Any) -> Any:
    if entered in (None, ""):
        return None
    if field.kind == "yaml":
        return yaml.safe_load(entered)
    return int(entered) if field.kind == "whole" else entered


def _free_name(op: str, nodes: list[str]) -> str:
    names = (op if number == 1 else f"{op}_{number}" for number in range(1, len(nodes) + 2))
    return next(name for name in names if name not in nodes)
