"""Whether this worker may run a pipeline that came over the network."""

from __future__ import annotations

from sage_kernel.file_access import FileAccess
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import PipelineSpec
from sage_kernel.validation import from_yaml


class PipelineAdmission:
    """Reads pipelines and refuses those that touch files which jobs may not.

    Args:
        files: what jobs may touch.
    """

    def __init__(self, files: FileAccess) -> None:
        self._files = files

    def admit(self, text: str | bytes) -> PipelineSpec:
        """Return the pipeline. Raises PipelineInvalidError with all of its errors."""
        if isinstance(text, bytes):
            try:
                text = text.decode()
            except UnicodeDecodeError as error:
                problem = Problem("", "", f"it is not UTF-8 text (byte {error.start})", "publish YAML or JSON as UTF-8")
                raise PipelineInvalidError([problem]) from None
        return from_yaml(text, self._files)
