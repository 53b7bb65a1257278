"""Names that callers give: short enough to keep, and fit for headers, logs and tables."""

from __future__ import annotations

from sage_common.errors import InvalidRequestError

MAX_LABEL_CHARACTERS = 128
# A model may be the path of a folder.
MAX_MODEL_CHARACTERS = 1024


def is_label(text: str, max_characters: int = MAX_LABEL_CHARACTERS) -> bool:
    """Whether ``text`` is 1 to ``max_characters`` printable ASCII characters."""
    return 1 <= len(text) <= max_characters and text.isascii() and text.isprintable()


def check_label(text: str, param: str, max_characters: int = MAX_LABEL_CHARACTERS) -> str:
    """Return ``text`` where it is a label or empty. Raises InvalidRequestError otherwise; ``param`` names the field."""
    if text and not is_label(text, max_characters):
        raise InvalidRequestError(
            f"{param!r} must be at most {max_characters} printable ASCII characters; got {len(text)}: {text[:40]!r}",
            code="invalid_label",
            param=param,
        )
    return text
