"""What Prometheus is told: requests, pictures, batches and what waits, by model.

Requests are told apart by protocol, `http` with the status as a number and `grpc` with the status by its name.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

# Seconds: from a small net's batch to a full-size one behind a full queue.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "alexnet_requests", "Requests that were answered", ["model", "protocol", "status"], registry=own
        )
        self.request_seconds = Histogram(
            "alexnet_request_seconds",
            "From the headers to the answer",
            ["model", "protocol"],
            buckets=SECONDS,
            registry=own,
        )
        self.pictures = Counter("alexnet_pictures", "Pictures that were classified", ["model"], registry=own)
        self.batch_pictures = Histogram(
            "alexnet_batch_pictures", "Pictures that were run together", ["model"], buckets=BATCHES, registry=own
        )
        self.batch_seconds = Histogram(
            "alexnet_batch_seconds", "Time of a batch", ["model"], buckets=SECONDS, registry=own
        )
        self.waiting = Gauge("alexnet_waiting_pictures", "Pictures that wait or are run", ["model"], registry=own)

    def request(self, model: str, protocol: str, status: str, seconds: float) -> None:
        """Count a request to a model that was answered."""
        self.requests.labels(model, protocol, status).inc()
        self.request_seconds.labels(model, protocol).observe(seconds)

    def batch(self, model: str, pictures: int, seconds: float) -> None:
        """Count a batch."""
        self.pictures.labels(model).inc(pictures)
        self.batch_pictures.labels(model).observe(pictures)
        self.batch_seconds.labels(model).observe(seconds)

    def watch(self, model: str, waiting: Callable[[], float]) -> None:
        """Show what a model has waiting, asked for at each scrape."""
        self.waiting.labels(model).set_function(waiting)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
