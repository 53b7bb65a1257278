"""Settings of the dataflow worker."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from sage_common.service_settings import ServiceSettings


class DataflowWorkerSettings(ServiceSettings):
    """Section ``dataflow_worker``."""

    section: ClassVar[str] = "dataflow_worker"

    max_jobs: int = Field(2, ge=1, description="jobs that this worker runs at once")
    max_tasks: int = Field(4, ge=1, description="tasks of jobs that this worker runs at once")
    labels: dict[str, str] = Field(
        default_factory=dict, description="labels of this worker, for nodes that ask for them, as JSON"
    )
    placement: Literal["balanced", "pack", "spread"] = Field(
        "balanced", description="how the workers for a job's tasks are chosen"
    )
    checkpoint_dir: Path | None = Field(
        None,
        description="folder of checkpoints, one for all workers of the mesh; by default below the data of this machine",
    )
    knowledge_dir: Path | None = Field(
        None,
        description="folder of the mesh's knowledge bases, one for all workers of its machine, outside of "
        "allowed_roots; by default that of `sage kb` on this machine",
    )
    max_attempts: int = Field(3, ge=1, description="starts without a checkpoint between after which a job fails")
    ack_wait_seconds: float = Field(
        3.0, ge=0.5, description="silence after which a worker's job goes to another; the same on every worker"
    )
    progress_interval_seconds: float = Field(0.5, gt=0, description="between writes of a job's progress")
    job_retention_days: float = Field(7.0, gt=0, description="how long the state and results of a job are kept")
    max_queued_jobs: int = Field(100_000, ge=1, description="jobs that may wait; further ones are refused")
    allowed_roots: tuple[Path, ...] = Field(
        (), description="folders that jobs may read and write; none by default, because jobs come from the network"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="hosts that jobs may talk to over HTTP: names, *.names, addresses and networks; none by default, "
        "and private addresses only where they are listed as such",
    )
    memory_limit_mb: int | None = Field(
        None,
        ge=128,
        description="memory above which this worker fails the job whose state fills it; by default 80 % of what the "
        "machine, or the container, has",
    )
    functions: tuple[str, ...] = Field(
        (),
        description="functions of Python that jobs may name as `ref`, installed where this worker runs: patterns such "
        "as shop.rules:price or shop.rules:*; none by default, because jobs come from the network",
    )
    keep_vectors: bool = Field(True, description="keep vectors between jobs where a pipeline asks for it")
