"""Which implementation of request features is chosen, and what is said when it is not the one installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from sage_common.errors import ConfigurationError
from sage_control_plane.request.features import request_features
from sage_middleware.features import load_feature_extractor


def install(monkeypatch: pytest.MonkeyPatch, extractor: object) -> None:
    module = ModuleType("sage_native")
    module.request_features = extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sage_native", module)


def test_an_installed_extension_that_agrees_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def twin(segments: Sequence[bytes | str], block_bytes: int, /) -> tuple[int, list[int]]:
        return request_features(segments, block_bytes)

    install(monkeypatch, twin)
    assert load_feature_extractor({}) == (twin, "native")
    assert load_feature_extractor({"SAGE_NATIVE": "auto"}) == (twin, "native")


def test_the_real_extension_agrees_with_the_reference() -> None:
    sage_native = pytest.importorskip("sage_native", reason="sage-native is not installed: pip install ./libs/cpp")
    with capture_logs() as logs:
        assert load_feature_extractor({}) == (sage_native.request_features, "native")
    assert logs == []


def test_off_forces_python(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, request_features)
    assert load_feature_extractor({"SAGE_NATIVE": "OFF"}) == (request_features, "python")


def test_another_value_of_the_switch_is_an_error_that_names_the_values() -> None:
    with pytest.raises(ConfigurationError, match=r"SAGE_NATIVE is 'yes'; it must be 'auto'.*or 'off'"):
        load_feature_extractor({"SAGE_NATIVE": "yes"})


def test_a_missing_extension_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sage_native", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent("sage_native"), *sys.meta_path])
    with capture_logs() as logs:
        assert load_feature_extractor({}) == (request_features, "python")
    assert logs == []


@pytest.mark.parametrize(
    "error",
    [
        ImportError("sage_native/_native.so: undefined symbol: _ZTI"),
        ModuleNotFoundError("No module named 'sage_native._native'", name="sage_native._native"),
    ],
)
def test_an_extension_that_does_not_load_is_an_error_in_the_log_and_python_serves(
    monkeypatch: pytest.MonkeyPatch, error: ImportError
) -> None:
    monkeypatch.delitem(sys.modules, "sage_native", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent("sage_native", error), *sys.meta_path])
    with capture_logs() as logs:
        assert load_feature_extractor({}) == (request_features, "python")
    [entry] = logs
    assert entry["log_level"] == "error"
    assert entry["reason"] == str(error)
    assert "SAGE_NATIVE=off" in entry["remedy"]


def test_an_extension_without_the_operator_is_an_error_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sage_native", ModuleType("sage_native"))
    with capture_logs() as logs:
        assert load_feature_extractor({}) == (request_features, "python")
    assert "request_features" in logs[0]["reason"]


def test_an_extension_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(segments: Sequence[bytes | str], block_bytes: int, /) -> tuple[int, list[int]]:
        tokens, hashes = request_features(segments, block_bytes)
        return tokens, [value ^ 1 for value in hashes]

    install(monkeypatch, stale)
    with capture_logs() as logs:
        assert load_feature_extractor({}) == (request_features, "python")
    assert "block hashes differ" in logs[0]["reason"]


class Absent:
    """An import finder that fails for one name, as a missing or broken package does."""

    def __init__(self, name: str, error: ImportError | None = None) -> None:
        self._name = name
        self._error = error or ModuleNotFoundError(f"No module named {name!r}", name=name)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._name:
            raise self._error
