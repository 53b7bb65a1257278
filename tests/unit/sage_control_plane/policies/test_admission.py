"""Bounded queues, and a Retry-After that is measured."""

from __future__ import annotations

from fixtures.control_plane import request

from sage_control_plane.policies.admission import Admission
from sage_control_plane.policies.admission_settings import AdmissionSettings
from sage_control_plane.request.request import ServiceClass

SMALL = AdmissionSettings(max_queued=2, max_queued_bytes=100, class_max_queued={"bulk": 1})


def test_each_class_has_its_own_bound_on_requests() -> None:
    admission = Admission(SMALL)
    for number in range(2):
        assert admission.refusal(request(str(number)), 0.0) is None
        admission.joined(request(str(number)))
    refusal = admission.refusal(request("x"), 0.0)
    assert refusal is not None
    assert "2 requests of class interactive are queued" in refusal.message
    bulk = request("b", service_class=ServiceClass.BULK)
    assert admission.refusal(bulk, 0.0) is None
    admission.joined(bulk)
    assert admission.refusal(bulk, 0.0) is not None


def test_bodies_are_bounded_too() -> None:
    admission = Admission(SMALL)
    admission.joined(request("a", body_bytes=60))
    assert admission.refusal(request("b", body_bytes=40), 0.0) is None
    assert admission.refusal(request("b", body_bytes=41), 0.0) is not None


def test_retry_after_is_the_work_ahead_by_the_measured_rate() -> None:
    admission = Admission(AdmissionSettings())
    for number in range(100):
        admission.joined(request(str(number), tokens=100))
    for second in range(100):
        admission.drained(request("d", tokens=500), float(second))
    assert 18 <= admission.retry_after_seconds(99.0) <= 21


def test_retry_after_is_a_guess_before_anything_was_measured() -> None:
    assert Admission(AdmissionSettings(unknown_retry_seconds=4)).retry_after_seconds(0.0) == 4


def test_what_leaves_makes_room() -> None:
    admission = Admission(SMALL)
    held = [request("a"), request("b")]
    for item in held:
        admission.joined(item)
    admission.left(held[0])
    assert admission.refusal(request("c"), 0.0) is None
