"""Settings of prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, slots=True)
class PredictionSettings:
    """When predictions are made and trusted.

    Attributes:
        forgetting: weight of a sample after the next one.
        least_samples: samples of an engine before it is predicted by its own fit rather than by its pool's.
        most_error: MAPE above which nothing is predicted, and policies fall back to what needs no prediction.
        output_quantile: quantile of the output lengths that is expected of the next request.
        output_samples: latest lengths of a tenant and model that are kept.
        least_output_samples: lengths before they are used.
    """

    forgetting: Annotated[float, Gt(0), Le(1)] = 0.99
    least_samples: Annotated[int, Ge(1)] = 20
    most_error: Annotated[float, Ge(0)] = 0.6
    output_quantile: Annotated[float, Ge(0), Le(1)] = 0.6
    output_samples: Annotated[int, Ge(1)] = 64
    least_output_samples: Annotated[int, Ge(1)] = 8
