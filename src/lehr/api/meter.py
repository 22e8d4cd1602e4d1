"""Counts and times calls for Prometheus, and writes one log line for each."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, Histogram

from lehr.api.calls import Call, Envelope

log = logging.getLogger("lehr.calls")

_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Meter:
    """The two metrics of the door, in a registry of their own or in a given one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._calls = Counter(
            "lehr_calls", "Calls answered, by status code.", ("rpc", "face", "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "lehr_call_seconds",
            "Seconds from request read to answer.",
            ("rpc", "face"),
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def count(self, rpc: str, envelope: Envelope, call: Call | None, code: int, seconds: float) -> None:
        """One call answered; `call` is None where it was refused before its app was known."""
        self._calls.labels(rpc, envelope.face, str(code)).inc()
        self._seconds.labels(rpc, envelope.face).observe(seconds)
        log.info(
            "rpc=%s face=%s code=%d ms=%.2f user=%s app=%s key=%s req_id=%s",
            rpc,
            envelope.face,
            code,
            seconds * 1e3,
            call.user_id if call else "-",
            f"{call.app.user_id}/{call.app.app_id}" if call and call.app else "-",
            call.caller.key_id if call else "-",
            envelope.req_id,
        )
