"""Every metric of the API, in base units, without any user id."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """The API's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("segstream_api_requests", "Requests answered.", labels, registry=self.registry)
        self.duration = Histogram(
            "segstream_api_request_seconds", "Time to answer.", ["route"], buckets=_LATENCY, registry=self.registry
        )
        self.model = Gauge("segstream_api_model_info", "1 for the model in use.", ["model_id"], registry=self.registry)
        self.ready = Gauge("segstream_api_ready", "1 while the API is ready.", registry=self.registry)
