"""The one list of metrics that our own processes count. Tasks are counted by flower, which sees every worker's events.

A label never holds a raw path, a symbol or anything else that a caller chooses.
"""

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest

HTTP_REQUESTS = Counter("tidewheel_http_requests_total", "Requests answered.", ["role", "method", "route", "status"])
HTTP_SECONDS = Histogram(
    "tidewheel_http_request_seconds",
    "Time from a request's first byte to the end of its answer.",
    ["role", "method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0),
)
HTTP_IN_FLIGHT = Gauge("tidewheel_http_requests_in_flight", "Requests being answered now.", ["role"])
PART_UP = Gauge("tidewheel_part_up", "1 while a part that /ready asks answers, else 0.", ["role", "part"])
CLAIMED_FILES = Gauge(
    "tidewheel_claimed_files", "Files that a run of the consumer holds now; 0 once it ends or is killed.", ["consumer"]
)
POISON_FILES = Gauge("tidewheel_poison_files", "Files parked after five failed runs of the consumer.", ["consumer"])
DECISIONS = Counter("tidewheel_decisions_total", "Parameter decisions made.", ["strategy", "reason"])
OUTCOMES = Counter("tidewheel_outcomes_total", "Outcomes reported, by what became of them.", ["strategy", "kind"])
KILL_SWITCHES = Gauge("tidewheel_kill_switches", "Kill switches that stand.")


def exposition() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus's text format, and its media type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
