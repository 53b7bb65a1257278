"""When something is traced, and where its spans go: the settings, and OpenTelemetry's variables."""

from __future__ import annotations

import pytest

from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_common.telemetry_settings import TelemetrySettings

URL = "http://collector:4318"


def of(monkeypatch: pytest.MonkeyPatch, **variables: str) -> TelemetrySettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(TelemetrySettings)


def test_nothing_is_traced_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not of(monkeypatch).tracing


def test_with_a_collector_everything_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = of(monkeypatch, SAGE_TELEMETRY_OTLP_ENDPOINT=URL)
    assert (settings.tracing, settings.ratio, settings.traces_endpoint) == (True, 1.0, f"{URL}/v1/traces")


def test_a_share_is_traced_without_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = of(monkeypatch, SAGE_TELEMETRY_SAMPLE_RATIO="0.01")
    assert (settings.tracing, settings.ratio, settings.traces_endpoint) == (True, 0.01, "")


def test_callers_choose_what_is_traced_where_the_share_is_none_and_there_is_a_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = of(monkeypatch, SAGE_TELEMETRY_OTLP_ENDPOINT=URL, SAGE_TELEMETRY_SAMPLE_RATIO="0")
    assert (settings.tracing, settings.ratio) == (True, 0.0)


@pytest.mark.parametrize(
    ("variables", "endpoint", "ratio"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"{URL}/"}, f"{URL}/v1/traces", 1.0),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/own/path"}, f"{URL}/own/path", 1.0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_SAMPLER": "always_off"}, f"{URL}/v1/traces", 0.0),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": URL,
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.2",
            },
            f"{URL}/v1/traces",
            0.2,
        ),
    ],
)
def test_opentelemetrys_variables_are_honoured(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], endpoint: str, ratio: float
) -> None:
    settings = of(monkeypatch, **variables)
    assert (settings.tracing, settings.traces_endpoint, settings.ratio) == (True, endpoint, ratio)


@pytest.mark.parametrize("variable", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_opentelemetrys_variables_turn_it_off(monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]) -> None:
    assert not of(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=URL, **variable).tracing


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"SAGE_TELEMETRY_OTLP_ENDPOINT": "collector:4317"}, "'collector:4317'"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_SAMPLER_ARG": "all"}, "'all'"),
        ({"SAGE_TELEMETRY_SAMPLE_RATIO": "2"}, "sample_ratio"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str) -> None:
    def ratio() -> float:
        return of(monkeypatch, **variables).ratio

    with pytest.raises(ConfigurationError, match=says):
        ratio()
