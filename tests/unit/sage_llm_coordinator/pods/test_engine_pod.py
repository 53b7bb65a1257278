"""What a pod's manifest says of its engine."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.cluster_api import pod

from sage_common.errors import ConfigurationError
from sage_llm_coordinator.pods.engine_pod import PodStage, read_pod


def test_a_ready_pod_is_an_openai_engine_at_its_address() -> None:
    read = read_pod(pod("vllm-0", address="10.1.2.3", port=8123))
    settings = read.settings("key")
    assert read.stage is PodStage.READY
    assert (settings.kind, settings.name, settings.server_url) == ("openai", "vllm-0", "http://10.1.2.3:8123/v1")
    assert settings.has_api_key


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert read_pod(pod("a", address="fd00::1")).url == "http://[fd00::1]:8000/v1"


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        ({"ready": False}, PodStage.STARTING),
        ({"address": ""}, PodStage.STARTING),
        ({"deleted": True}, PodStage.TERMINATING),
        ({"deleted": True, "ready": False}, PodStage.TERMINATING),
        ({"phase": "Succeeded"}, PodStage.ENDED),
        ({"phase": "Failed", "deleted": True}, PodStage.ENDED),
    ],
)
def test_a_pods_stage_is_that_of_its_status(options: dict[str, Any], stage: PodStage) -> None:
    assert read_pod(pod("a", **options)).stage is stage


def test_annotations_set_what_an_operator_would_register_with() -> None:
    annotations = {
        "sage.internal/pool": "large",
        "sage.internal/max-concurrency": "32",
        "sage.internal/aliases": "big, biggest",
        "sage.internal/port": "9000",
        "another.example/pool": "not ours",
    }
    settings = read_pod(pod("a", annotations=annotations)).settings()
    assert settings.pool == "large"
    assert settings.max_concurrency == 32
    assert settings.aliases == ("big", "biggest")
    assert settings.server_url.endswith(":9000/v1")


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"sage.internal/poll": "large"}, "there is no sage.internal/poll; there are aliases"),
        ({"sage.internal/max-concurrency": "many"}, "sage.internal/max-concurrency"),
        ({"sage.internal/port": "http"}, "'http', which is no port"),
        ({"sage.internal/kinds": "chatting"}, "'chatting' is no kind of work"),
    ],
)
def test_annotations_that_make_no_engine_are_named(annotations: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match="the pod sage/a is no engine") as raised:
        read_pod(pod("a", annotations=annotations)).settings()
    assert said in raised.value.message


@pytest.mark.parametrize("raw", [{}, {"metadata": None}, {"metadata": {"name": "a"}}, {"metadata": []}])
def test_what_is_no_pod_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a pod"):
        read_pod(raw)


def test_a_new_pod_of_the_same_name_is_another_engine() -> None:
    first, second = pod("vllm-0"), pod("vllm-0")
    second["metadata"]["uid"] = "another"
    assert read_pod(first).origin != read_pod(second).origin
