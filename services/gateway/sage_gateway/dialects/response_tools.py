"""The tools of the Responses API and the choice among them, as a chat's."""

from __future__ import annotations

from typing import Any

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body_fields import wrong_field
from sage_gateway.dialects.fields import Fields, not_served

_MODES = ("none", "auto", "required")
_KINDS = ("function", "custom")


def chat_tools(values: list[Any]) -> list[dict[str, Any]]:
    """Return the tools as a chat has them. Raises InvalidRequestError for one that OpenAI runs itself."""
    return [_tool(Fields(value, f"tools[{number}]")) for number, value in enumerate(values)]


def _tool(fields: Fields) -> dict[str, Any]:
    kind = fields.required_text("type")
    if kind not in _KINDS:
        raise not_served(fields.at("type"), f"the tool {kind[:40]!r} is run by OpenAI; declare a function of your own")
    tool: dict[str, Any] = {"name": fields.required_text("name")}
    description = fields.text("description")
    if description is not None:
        tool["description"] = description
    if kind == "function":
        tool["parameters"] = fields.mapping("parameters") or {"type": "object", "properties": {}}
        strict = fields.flag("strict")
        if strict is not None:
            tool["strict"] = strict
        # What a result looks like is told to the model by the result.
        fields.mapping("output_schema")
    else:
        form = fields.inner("format")
        if form is not None:
            tool["format"] = _custom_format(form)
    callers = fields.items("allowed_callers")
    if callers not in (None, ["direct"]):
        raise not_served(fields.at("allowed_callers"), "tools are called by the model alone, which is 'direct'")
    fields.refuse(
        {
            "defer_loading": "there is no tool search; leave out the tools that are not needed",
            "async": "the answer ends with the calls, and their results come with the next request",
        }
    )
    fields.finish()
    return {"type": kind, kind: tool}


def _custom_format(form: Fields) -> dict[str, Any]:
    if form.choice("type", ("text", "grammar")) != "grammar":
        form.finish()
        return {"type": "text"}
    grammar = {"definition": form.required_text("definition"), "syntax": form.required_text("syntax")}
    form.finish()
    return {"type": "grammar", "grammar": grammar}


def choose_tools(choice: Any, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a chat that say which tools there are and which may be called.

    Args:
        choice: as it was sent; None for none.
        tools: as a chat has them.

    Raises:
        InvalidRequestError: the choice is not understood, or names a tool that is not there.
    """
    if choice is None or choice in _MODES:
        return _with_tools(tools, choice)
    fields = Fields(choice, "tool_choice")
    kind = fields.required_text("type")
    if kind == "allowed_tools":
        mode = fields.choice("mode", ("auto", "required"))
        names = [_allowed(value, number) for number, value in enumerate(fields.required_items("tools"))]
        fields.finish()
        return _with_tools([tool for tool in tools if (tool["type"], _name(tool)) in names], mode)
    if kind not in _KINDS:
        raise wrong_field("tool_choice", choice, f"{', '.join(_MODES)}, or an object of type {' or '.join(_KINDS)}")
    name = fields.required_text("name")
    fields.finish()
    if (kind, name) not in [(tool["type"], _name(tool)) for tool in tools]:
        raise InvalidRequestError(
            f"'tool_choice' names the {kind} {name[:80]!r}, which is not among 'tools'", param="tool_choice"
        )
    return _with_tools(tools, {"type": kind, kind: {"name": name}})


def _allowed(value: Any, number: int) -> tuple[str, str]:
    fields = Fields(value, f"tool_choice.tools[{number}]")
    allowed = fields.required_text("type"), fields.required_text("name")
    fields.finish()
    return allowed


def _with_tools(tools: list[dict[str, Any]], choice: Any) -> dict[str, Any]:
    if not tools:
        # Servers refuse a choice among none.
        return {}
    return {"tools": tools} if choice is None else {"tools": tools, "tool_choice": choice}


def _name(tool: dict[str, Any]) -> str:
    name: str = tool[tool["type"]]["name"]
    return name
