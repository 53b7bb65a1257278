"""Lengths of answers are learned by tenant, model and class."""

from __future__ import annotations

from fixtures.control_plane import request

from sage_control_plane.prediction.output_length import MOST_KEYS, OutputLengths
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.request.request import RequestKind, ServiceClass

CHAT = request("r", tokens=100).classification


def test_the_classifiers_estimate_counts_until_enough_is_known() -> None:
    lengths = OutputLengths(PredictionSettings(least_output_samples=4, output_quantile=0.5))
    for _ in range(3):
        lengths.learn("t", CHAT, 400)
    assert lengths.expected("t", CHAT) == CHAT.output_tokens
    lengths.learn("t", CHAT, 400)
    assert lengths.expected("t", CHAT) == 400
    assert lengths.expected("other", CHAT) == CHAT.output_tokens


def test_the_quantile_is_of_the_latest_lengths() -> None:
    lengths = OutputLengths(PredictionSettings(output_samples=10, least_output_samples=1, output_quantile=0.5))
    for tokens in [9000] * 50 + list(range(1, 11)):
        lengths.learn("t", CHAT, tokens)
    assert lengths.expected("t", CHAT) == 5


def test_a_tenants_batches_say_nothing_of_its_chats() -> None:
    lengths = OutputLengths(PredictionSettings(least_output_samples=1))
    lengths.learn("t", request("b", service_class=ServiceClass.BULK).classification, 2000)
    assert lengths.expected("t", CHAT) == CHAT.output_tokens


def test_silence_and_vectors_teach_nothing() -> None:
    lengths = OutputLengths(PredictionSettings(least_output_samples=1))
    vectors = request("v", kind=RequestKind.EMBEDDING).classification
    lengths.learn("t", CHAT, None)
    lengths.learn("t", vectors, 30)
    assert lengths.expected("t", CHAT) == CHAT.output_tokens
    assert lengths.expected("t", vectors) == vectors.output_tokens


def test_what_is_remembered_of_tenants_has_an_end() -> None:
    lengths = OutputLengths(PredictionSettings(least_output_samples=1))
    for number in range(MOST_KEYS + 1):
        lengths.learn(f"t{number}", CHAT, 77)
    assert lengths.expected("t0", CHAT) == CHAT.output_tokens
    assert lengths.expected("t1", CHAT) == 77
