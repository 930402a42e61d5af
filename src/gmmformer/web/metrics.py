"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "gmmformer_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "gmmformer_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge("gmmformer_requests_in_progress", "Requests in progress.", registry=registry)
        self.queries = Counter("gmmformer_queries", "Sentences searched for.", registry=registry)
        self.search_seconds = Histogram(
            "gmmformer_search_seconds",
            "Seconds that a search took, waiting for others included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "gmmformer_batch_size",
            "Sentences that were embedded and searched for together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.film_work = Counter(
            "gmmformer_film_work",
            "Films looked at, cut or previewed in processes of their own.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.films = Gauge("gmmformer_library_films", "Films in the library.", registry=registry)
        self.film_seconds = Gauge("gmmformer_library_seconds", "Seconds of all films.", registry=registry)
        self.failures = Gauge("gmmformer_library_failures", "Films that could not be taken in.", registry=registry)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)
