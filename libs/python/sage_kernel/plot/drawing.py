"""The forms that a pipeline is drawn in, by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sage_common.errors import InvalidRequestError
from sage_common.setting_table import nearest
from sage_kernel.plot.mermaid import mermaid
from sage_kernel.plot.svg import svg
from sage_kernel.spec import PipelineSpec

FORMS: Mapping[str, Callable[[PipelineSpec], str]] = {".svg": svg, ".mmd": mermaid, ".mermaid": mermaid}


def draw(spec: PipelineSpec, suffix: str) -> str:
    """Return a drawing. Raises InvalidRequestError for an ending that stands for none."""
    if suffix not in FORMS:
        raise InvalidRequestError(
            f"a drawing has the ending {' or '.join(FORMS)}, got {suffix!r}{nearest(suffix, list(FORMS))}"
        )
    return FORMS[suffix](spec)
