"""What servers can do, by what they call themselves as the owner of their models in /v1/models."""

from __future__ import annotations

from typing import Final

# They take up an assistant's unfinished message (``continue_final_message``). Others refuse it or begin another.
CONTINUING_SERVERS: Final = frozenset({"vllm", "sglang", "sage-simulated"})
# They report a stream's usage when asked to (``stream_options.include_usage``).
USAGE_SERVERS: Final = frozenset({"vllm", "sglang", "sage-simulated", "llamacpp", "openai", "system"})
# They give an answer's tokens (``return_token_ids``), tokenize prompts (``/tokenize``) and take tokens for a prompt.
TOKEN_SERVERS: Final = frozenset({"vllm"})
# They give a prompt's tokens (``return_token_ids``).
PROMPT_TOKEN_SERVERS: Final = TOKEN_SERVERS | {"sage-simulated"}
# They say before an answer how much of its prompt is in their cache, when asked to (``return_progress``).
PROGRESS_SERVERS: Final = frozenset({"llamacpp", "sage-simulated"})
# They can report it with every event (``continuous_usage_stats``).
CONTINUOUS_USAGE_SERVERS: Final = frozenset({"vllm"})
