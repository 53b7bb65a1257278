"""Every NATS subject, bucket and stream name of the mesh."""

from __future__ import annotations

CLASSIFY = "sage.v1.classify"
CLASSIFY_QUEUE = "classifiers"
CANCEL = "sage.v1.cancel"
FLOW = "sage.v1.flow"
INQUIRE = "sage.v1.inquire"
HEARTBEAT = "sage.v1.heartbeat"
HELLO = "sage.v1.hello"
EXPLAIN = "sage.v1.explain"
SCHEDULE_ALL = "sage.v1.schedule.*"
DISPATCH_ALL = "sage.v1.dispatch.*"
REPLY_ALL = "sage.v1.reply.>"
REPORT_ALL = "sage.v1.report.*"
CACHE_ALL = "sage.v1.cache.*"
# Header with the instance id of the asking process.
FROM_HEADER = "Sage-From"

JOBS_STREAM = "SAGE_JOBS"
JOBS_SUBMIT = "sage.jobs.v1.submit"
JOBS_CANCEL = "sage.jobs.v1.cancel"
RESULTS_STREAM = "SAGE_RESULTS"
RESULTS_ALL = "sage.results.*"
# A task that takes up its lease writes here; what an earlier holder still publishes is then refused by the server.
RESULT_FENCES_ALL = "sage.results.*.fence.*"
EVENTS_STREAM = "SAGE_EVENTS"
EVENTS_ALL = "sage.events.*.>"
DLQ_STREAM = "SAGE_DLQ"
DLQ_ALL = "sage.dlq.*.*"

# Chunks of files, a subject a file.
FILES_STREAM = "SAGE_FILES"
FILES_ALL = "sage.files.v1.*.*"
# What the lines of running batches came to, a subject a batch.
BATCH_RESULTS_STREAM = "SAGE_BATCH_RESULTS"
BATCH_RESULTS_ALL = "sage.batches.v1.*.*"
# What is told of responses that are made in the background, a subject a response.
RESPONSE_EVENTS_STREAM = "SAGE_RESPONSE_EVENTS"
RESPONSE_EVENTS_ALL = "sage.responses.v1.*.*"

BUCKET_SERVICES = "services"
BUCKET_LEASES = "leases"
BUCKET_CONTROL = "control"
BUCKET_JOBS = "jobs"
BUCKET_PIPELINES = "pipelines"
BUCKET_TASKS = "tasks"
BUCKET_TASK_LEASES = "task-leases"
BUCKET_CHECKPOINTS = "checkpoints"
BUCKET_NODES = "nodes"
BUCKET_ANSWERS = "answers"
BUCKET_KNOWLEDGE = "knowledge"
BUCKET_KEYS = "api-keys"
BUCKET_FILES = "files"
# Of objects, not of records: parts of bodies that are too long for a message.
BUCKET_BODIES = "bodies"
BUCKET_BATCHES = "batches"
# The batches that have not ended.
BUCKET_OPEN_BATCHES = "open-batches"
BUCKET_RESPONSES = "responses"
# Those that are made in the background and have not ended.
BUCKET_OPEN_RESPONSES = "open-responses"
BUCKET_WORK_LEASES = "work-leases"
BUCKET_TENANTS = "tenants"
BUCKET_PRICES = "prices"
BUCKET_MODEL_ROUTES = "model-routes"
# What of budgets is spent, and what of rates and seats; see ``sage_common.quota``.
BUCKET_BUDGETS = "budgets"
BUCKET_RATES = "rates"
BUCKET_QUOTA_HOLDERS = "quota-holders"
BUCKET_USAGE = "usage"
USAGE_STREAM = "SAGE_USAGE"
USAGE_ALL = "sage.usage.v1.*.*"
# What is in them lives no longer than the processes that write it; see ``sage_platform.kv``.
MEMORY_BUCKETS = frozenset(
    {
        BUCKET_SERVICES,
        BUCKET_LEASES,
        BUCKET_TASK_LEASES,
        BUCKET_NODES,
        BUCKET_WORK_LEASES,
        BUCKET_RATES,
        BUCKET_QUOTA_HOLDERS,
    }
)


def schedule(pool: str) -> str:
    """Where classified requests of a pool go: to the scheduler that holds its lease."""
    return f"sage.v1.schedule.{token(pool)}"


def dispatch(engine_id: str) -> str:
    """Where dispatches to an engine go: to the executor that owns it."""
    return f"sage.v1.dispatch.{token(engine_id)}"


def reply(edge_id: str, identity: str = "") -> str:
    """Where frames for an edge go.

    Args:
        identity: whose edge it is, in a mesh where each may hear its own only; empty elsewhere.
    """
    return f"sage.v1.reply.{token(identity)}.{token(edge_id)}" if identity else f"sage.v1.reply.{token(edge_id)}"


def replies(identity: str) -> str:
    """Matches the subjects of all edges of an identity."""
    return f"sage.v1.reply.{token(identity)}.*"


def report(pool: str) -> str:
    """Where executors report on the engines of a pool."""
    return f"sage.v1.report.{token(pool)}"


def cache(pool: str) -> str:
    """Where executors say what the prefix caches of a pool's engines hold."""
    return f"sage.v1.cache.{token(pool)}"


def results(job_id: str) -> str:
    """Where the results of a job go."""
    return f"sage.results.{token(job_id)}"


def result_fence(job_id: str, task: int) -> str:
    """Where a task of a job says that it publishes from now on."""
    return f"sage.results.{token(job_id)}.fence.{task}"


def job_events(job_id: str, kind: str, task: int | None = None) -> str:
    """Where what happens to a job is told, by kind, and for what happens to one of its tasks by task."""
    return f"sage.events.{token(job_id)}.{kind}" + ("" if task is None else f".{task}")


def all_job_events(job_id: str) -> str:
    """Matches the subjects of all events of a job."""
    return f"sage.events.{token(job_id)}.>"


def task_key(job_id: str, task: int) -> str:
    """Key of a task of a job, in every bucket that holds something of it."""
    return f"{token(job_id)}.{task}"


def dead_letters(job_id: str, node_id: str) -> str:
    """Where the records go that a node of a job could not process."""
    return f"sage.dlq.{token(job_id)}.{token(node_id)}"


def all_dead_letters(job_id: str) -> str:
    """Matches the subjects of all dead letters of a job."""
    return f"sage.dlq.{token(job_id)}.*"


def tenant_key(tenant: str, name: str) -> str:
    """Key of what a tenant owns; ``name`` is one token already."""
    return f"{token(tenant)}.{name}"


def file_chunks(tenant: str, file_id: str) -> str:
    """Where the chunks of a tenant's file go."""
    return f"sage.files.v1.{tenant_key(tenant, file_id)}"


def batch_results(tenant: str, batch_id: str) -> str:
    """Where the results of a tenant's batch go."""
    return f"sage.batches.v1.{tenant_key(tenant, batch_id)}"


def response_events(tenant: str, response_id: str) -> str:
    """Where the events of a tenant's response go."""
    return f"sage.responses.v1.{token(tenant)}.{token(response_id)}"


def usage(replica: str, tenant: str) -> str:
    """Where a gateway says what the requests of a tenant have come to."""
    return f"sage.usage.v1.{token(replica)}.{token(tenant)}"


def token(name: str) -> str:
    """Make ``name`` one subject token: characters that NATS gives a meaning become ``_xx`` (hexadecimal)."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else f"_{ord(c):02x}" for c in name)
