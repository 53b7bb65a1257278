"""Anthropic's tools and the choice among them, as a chat's."""

from __future__ import annotations

from typing import Any

from sage_common.errors import InvalidRequestError
from sage_gateway.dialects.fields import Fields, not_served
from sage_gateway.dialects.message_content import CACHE_MARK

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_tools(values: list[Any]) -> list[dict[str, Any]]:
    """Return the tools as a chat has them. Raises InvalidRequestError for one that Anthropic defines itself."""
    return [_tool(Fields(value, f"tools[{number}]")) for number, value in enumerate(values)]


def _tool(fields: Fields) -> dict[str, Any]:
    kind = fields.text("type") or "custom"
    if kind != "custom":
        why = f"the tool {kind[:40]!r} is Anthropic's own; declare it with a name and an input_schema"
        raise not_served(fields.at("type"), why)
    function: dict[str, Any] = {"name": fields.required_text("name")}
    description = fields.text("description")
    if description is not None:
        function["description"] = description
    schema = fields.mapping("input_schema")
    if schema is None:
        raise InvalidRequestError(
            f"'{fields.at('input_schema')}' is needed: a JSON schema",
            code="missing_required_parameter",
            param=fields.at("input_schema"),
        )
    function["parameters"] = schema
    strict = fields.flag("strict")
    if strict is not None:
        function["strict"] = strict
    fields.take(CACHE_MARK)
    # Arguments are always sent as they are generated.
    fields.flag("eager_input_streaming")
    callers = fields.items("allowed_callers")
    if callers not in (None, ["direct"]):
        raise not_served(fields.at("allowed_callers"), "tools are called by the model alone, which is 'direct'")
    fields.refuse(
        {
            "defer_loading": "there is no tool search; leave out the tools that are not needed",
            "input_examples": "a chat carries no examples of calls; put them into the description",
        }
    )
    fields.finish()
    return {"type": "function", "function": function}


def chat_tool_choice(choice: Fields) -> dict[str, Any]:
    """Return the fields of a chat that say which tools may be called. Raises InvalidRequestError."""
    kind = choice.choice("type", (*_CHOICES, "tool"))
    chosen: dict[str, Any] = {}
    if kind == "tool":
        chosen["tool_choice"] = {"type": "function", "function": {"name": choice.required_text("name")}}
    elif kind is not None:
        chosen["tool_choice"] = _CHOICES[kind]
    one_at_most = choice.flag("disable_parallel_tool_use")
    if one_at_most is not None:
        chosen["parallel_tool_calls"] = not one_at_most
    choice.finish()
    return chosen
