"""The request of the playground as code to take along."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

# JSON allows them as they are, but editors and shells take them for ends of lines.
LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\u0085\u2028\u2029"}


def as_curl(target: str, path: str, body: Mapping[str, Any], *, needs_key: bool) -> str:
    """Return a command line; the key is read from SAGE_KEY."""
    key = ' \\\n  -H "Authorization: Bearer $SAGE_KEY"' if needs_key else ""
    text = shlex.quote(json.dumps(body, ensure_ascii=False).translate(LINE_ENDS))
    return f"curl {target}{path}{key} \\\n  -H 'Content-Type: application/json' \\\n  -d {text}"


def as_sage(target: str, messages: list[dict[str, str]], params: Mapping[str, Any], *, needs_key: bool) -> str:
    """Return Python that asks with SAGE's own client."""
    key = ', api_key=os.environ["SAGE_KEY"]' if needs_key else ""
    given = "".join(f", {name}={value!r}" for name, value in params.items())
    return (
        "import asyncio\n" + ("import os\n" if needs_key else "") + "\nimport sage\n\n\nasync def main() -> None:\n"
        f'    client = await sage.AsyncUnifiedInferenceClient.create("{target}"{key})\n'
        "    async with client:\n"
        f"        async for piece in client.stream_chat({messages!r}{given}):\n"
        '            print(piece, end="", flush=True)\n'
        "\n\nasyncio.run(main())\n"
    )


def as_openai(target: str, messages: list[dict[str, str]], params: Mapping[str, Any], *, needs_key: bool) -> str:
    """Return Python that asks with the client of OpenAI."""
    key = 'os.environ["SAGE_KEY"]' if needs_key else '"unused"'
    given = "".join(f"    {name}={value!r},\n" for name, value in params.items())
    return (
        ("import os\n\n" if needs_key else "") + "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{target}/v1", api_key={key})\n'
        "stream = client.chat.completions.create(\n"
        f"{given}    messages={messages!r},\n    stream=True,\n)\n"
        "for event in stream:\n"
        '    print(event.choices[0].delta.content or "" if event.choices else "", end="", flush=True)\n'
    )
