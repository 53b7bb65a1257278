"""Whether requests are traced, how many of them, and where their spans go."""

from __future__ import annotations

import os
from typing import ClassVar, Final

from pydantic import Field

from sage_common.config import SectionSettings
from sage_common.errors import ConfigurationError

_TRACES_PATH: Final = "/v1/traces"
_TRUE: Final = "true"


class TelemetrySettings(SectionSettings):
    """Traces. OpenTelemetry's own environment variables hold where a setting is not given."""

    section: ClassVar[str] = "telemetry"

    otlp_endpoint: str = Field(
        "",
        description="collector that spans are sent to over OTLP/HTTP, such as http://127.0.0.1:4318; empty: "
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    sample_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the requests that are traced, where the caller's traceparent does not say; unset: "
        "OTEL_TRACES_SAMPLER_ARG, else 1 with a collector, else 0",
    )
    kept_spans: int = Field(4096, ge=0, description="spans that each service keeps in memory, for `sage trace`")

    @property
    def traces_endpoint(self) -> str:
        """The URL that spans are posted to; empty where they are not exported. Raises ConfigurationError."""
        if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none" and not self.otlp_endpoint:
            return ""
        if exact := not self.otlp_endpoint and os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip():
            url, path = str(exact), ""
        else:
            url = self.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
            path = "" if url.rstrip("/").endswith(_TRACES_PATH) else _TRACES_PATH
        if url and not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"telemetry.otlp_endpoint is {url!r}; give the URL of an OTLP/HTTP collector, such as "
                "http://127.0.0.1:4318"
            )
        return url.rstrip("/") + path if url else ""

    @property
    def ratio(self) -> float:
        """The share of the requests without a traceparent that are traced. Raises ConfigurationError."""
        if self.sample_ratio is not None:
            return self.sample_ratio
        sampler = os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower().removeprefix("parentbased_")
        if sampler == "always_off":
            return 0.0
        argument = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
        if argument and sampler in ("", "traceidratio"):
            try:
                ratio = float(argument)
            except ValueError:
                ratio = -1.0
            if not 0 <= ratio <= 1:
                raise ConfigurationError(f"OTEL_TRACES_SAMPLER_ARG is {argument!r}; give a share from 0 to 1")
            return ratio
        return 1.0 if sampler or self.traces_endpoint else 0.0

    @property
    def tracing(self) -> bool:
        """Whether anything is traced: there is a collector, or a share of the requests. Raises ConfigurationError."""
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == _TRUE:
            return False
        return bool(self.traces_endpoint) or self.ratio > 0
