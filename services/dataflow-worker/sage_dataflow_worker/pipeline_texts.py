"""The pipelines of jobs as text, where every worker that runs a task finds them."""

from __future__ import annotations

from collections import OrderedDict

from nats.js.errors import KeyDeletedError, KeyNotFoundError
from nats.js.kv import KeyValue

from sage_common.errors import NotFoundError
from sage_dataflow_worker.pipeline_admission import AdmittedPipeline, PipelineAdmission
from sage_platform.subjects import token

_REMEMBERED = 32


class PipelineTexts:
    """Keeps the text of each job's pipeline, and remembers those that this worker has read.

    Args:
        bucket: the bucket ``pipelines``.
    """

    def __init__(self, bucket: KeyValue, admission: PipelineAdmission) -> None:
        self._bucket = bucket
        self._admission = admission
        self._read: OrderedDict[bytes, AdmittedPipeline] = OrderedDict()

    async def admit(self, text: bytes, tenant: str = "", *, has_caller: bool = False) -> AdmittedPipeline:
        """Return a pipeline that may run. Raises what ``PipelineAdmission.admit`` does."""
        if text in self._read:
            self._read.move_to_end(text)
            return self._read[text]
        admitted = self._read[text] = await self._admission.admit(text, tenant, has_caller=has_caller)
        while len(self._read) > _REMEMBERED:
            self._read.popitem(last=False)
        return admitted

    async def keep(self, job_id: str, text: bytes) -> None:
        """Keep the text of a job's pipeline."""
        await self._bucket.put(token(job_id), text)

    async def text(self, job_id: str) -> bytes:
        """Return the text of a job's pipeline. Raises NotFoundError."""
        try:
            return (await self._bucket.get(token(job_id))).value or b""
        except (KeyNotFoundError, KeyDeletedError):
            raise NotFoundError(f"the pipeline of job {job_id!r} is kept no more; submit it again") from None

    async def admitted(self, job_id: str) -> AdmittedPipeline:
        """Return the pipeline of a job. Raises NotFoundError, PipelineInvalidError, UnavailableError."""
        return await self.admit(await self.text(job_id))
