"""Lengths of answers are learned by tenant, model, class and the caller's limit."""

from __future__ import annotations

from dataclasses import replace

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


def test_what_all_tenants_answers_have_in_common_counts_until_enough_is_known_of_one() -> None:
    lengths = OutputLengths(PredictionSettings(least_output_samples=4, output_quantile=0.5))
    for tenant in "abcd":
        lengths.learn(tenant, CHAT, 400)
    assert lengths.expected("new", CHAT) == 400
    for _ in range(4):
        lengths.learn("new", CHAT, 30)
    assert lengths.expected("new", CHAT) == 30
    assert lengths.expected("another", CHAT) == 30  # the quantile of four of 30 and four of 400
    another_model = request("r", model="other").classification
    assert lengths.expected("new", another_model) == another_model.output_tokens


def test_lengths_are_learned_apart_by_the_callers_limit() -> None:
    lengths = OutputLengths(PredictionSettings(least_output_samples=1))
    limited = {most: replace(CHAT, most_output_tokens=most) for most in (0, 20, 31, 2000)}
    lengths.learn("t", limited[31], 18)
    lengths.learn("t", limited[2000], 900)
    # 20 and 31 are of one group, that of 16 to 31.
    assert lengths.expected("t", limited[20]) == 18
    assert lengths.expected("t", limited[2000]) == 900
    assert lengths.expected("t", limited[0]) == CHAT.output_tokens
    # Within a group, nobody's answer is expected to be longer than its own limit.
    assert lengths.expected("t", replace(CHAT, most_output_tokens=17)) == 17


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
    # One key is everybody's.
    for number in range(MOST_KEYS):
        lengths.learn(f"t{number}", CHAT, 30 if number < 2 else 77)
    assert lengths.expected("t0", CHAT) == 77
    assert lengths.expected("t1", CHAT) == 30
