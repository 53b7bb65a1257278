"""What a piece of Markdown or reStructuredText says, without its marks."""

from __future__ import annotations

import re

_DIRECTIVE = re.compile(r"^[ \t]*\.\. (?:_[^\n]*:|[\w-]+::[^\n]*|\|[^\n]*)[ \t]*$", re.MULTILINE)
_NOTE = re.compile(r"^[ \t]*\.\. (?:note|tip|important|warning|hint|caution)::[ \t]*", re.MULTILINE)
_OPTION = re.compile(r"^([ \t]*)\.\. option:: ", re.MULTILINE)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
# :command:`add_library`, and with a text of its own :prop_gbl:`enabled languages <ENABLED_LANGUAGES>`.
_ROLE = re.compile(r":[a-zA-Z][\w:.+-]*:`([^`<]*?)(?:\s*<[^`>]*(?:<[^`>]*>[^`>]*)*>)?`")
_REFERENCE = re.compile(r"`([^`<]+?)(?:\s*<[^`>]+>)?`__?")
_TICKS = re.compile(r"(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_BOLD = re.compile(r"(\*\*)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_ITALIC = re.compile(r"(?<![\w*\\])\*(?=[^\s*])([^*\n]+?)(?<=\S)\*(?![\w*])")
_LITERAL_FOLLOWS = re.compile(r"::[ \t]*$", re.MULTILINE)


def plain_text(text: str) -> str:
    """Return ``text`` without links' addresses, emphasis, backquotes, roles and directives; its lines stay lines."""
    text = _NOTE.sub("", text)
    text = _OPTION.sub(r"\1", text)
    text = _DIRECTIVE.sub("", text)
    text = _IMAGE_OR_LINK.sub(r"\1", text)
    text = _ROLE.sub(r"\1", text)
    text = _REFERENCE.sub(r"\1", text)
    text = _TICKS.sub(r"\2", text)
    text = _BOLD.sub(r"\2", text)
    text = _ITALIC.sub(r"\1", text)
    return _LITERAL_FOLLOWS.sub(":", text)
