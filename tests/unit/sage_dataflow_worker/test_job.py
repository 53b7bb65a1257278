from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.v1 import dataflow_pb2
from sage_dataflow_worker.job import Claim, Job, JobState, NodeProgress, claim, is_job_id

counts = st.integers(0, 2**53)
jobs = st.builds(
    Job,
    job_id=st.text(max_size=8),
    pipeline=st.text(max_size=8),
    state=st.sampled_from(JobState),
    created_unix_ms=counts,
    updated_unix_ms=counts,
    errors=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    progress=st.dictionaries(st.text(max_size=5), st.builds(NodeProgress, counts, counts), max_size=3),
    worker_id=st.text(max_size=8),
    spec_hash=st.text(max_size=8),
    attempts=counts,
    message=counts,
)

PENDING = Job("a", "p", JobState.PENDING, 1, 1, message=7)


@given(jobs)
def test_a_job_reads_back_as_it_was_stored(job: Job) -> None:
    assert Job.from_json(job.to_json()) == job


def test_a_key_of_a_newer_version_is_ignored() -> None:
    stored = {**orjson.loads(PENDING.to_json()), "colour": "blue"}
    assert Job.from_json(orjson.dumps(stored)) == PENDING


def test_the_states_are_those_of_the_wire() -> None:
    names = {name.removeprefix("JOB_STATE_"): number for name, number in dataflow_pb2.JobState.items()}
    del names["UNSPECIFIED"]
    assert {state.name: state.value for state in JobState} == names


@pytest.mark.parametrize(
    ("stored", "decision"),
    [
        (None, Claim.RUN),
        (PENDING, Claim.RUN),
        (replace(PENDING, message=0), Claim.RUN),
        (replace(PENDING, message=8), Claim.DROP),
        (replace(PENDING, state=JobState.RUNNING, attempts=2), Claim.RUN),
        (replace(PENDING, state=JobState.RUNNING, attempts=3), Claim.GIVE_UP),
        (replace(PENDING, state=JobState.CANCELLED), Claim.DROP),
        (replace(PENDING, state=JobState.FAILED), Claim.DROP),
        (replace(PENDING, state=JobState.SUCCEEDED), Claim.DROP),
    ],
)
def test_what_a_worker_does_with_a_delivery(stored: Job | None, decision: Claim) -> None:
    assert claim(stored, 7, max_attempts=3) is decision


def test_job_ids_are_plain_names() -> None:
    assert all(is_job_id(name) for name in ("a", "job-1", "A.b_c-9", "x" * 128))
    assert not any(is_job_id(name) for name in ("", "-a", "a b", "a/b", "ä", "a\n", "x" * 129, "*", ">"))
