"""Every status code with its name, its description and its HTTP mirror, and how a `Status` message is made from one.

The descriptions in `status_descriptions.tsv` are what the public service answers with; clients match on some of them,
so they stay as they are, typing errors included. A code without one is described by its name in plain words.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from lehr.protocol.messages import status_code_pb2, status_pb2

NAMES: dict[int, str] = {number: name for name, number in reversed(status_code_pb2.StatusCode.items())}
"""Code to name; of two names for one number, the first that the protocol lists."""

# Codes whose HTTP mirror does not follow from a word in their name.
_HTTP_BY_CODE = {
    status_code_pb2.MIXED_STATUS: 207,
    status_code_pb2.FAILURE: 400,
    status_code_pb2.NOT_IMPLEMENTED: 501,
    status_code_pb2.CONN_TOKEN_INVALID: 401,
    status_code_pb2.CONN_CREDENTIALS_INVALID: 401,
    status_code_pb2.CONN_THROTTLED: 429,
    status_code_pb2.CONN_EXCEED_HOURLY_LIMIT: 429,
    status_code_pb2.CONN_INSUFFICIENT_SCOPES: 403,
    status_code_pb2.CONN_KEY_INVALID: 401,
    status_code_pb2.CONN_BAD_REQUEST_FORMAT: 400,
    status_code_pb2.CONN_METHOD_NOT_ALLOWED: 405,
    status_code_pb2.MODEL_BUSY_PLEASE_RETRY: 503,
    status_code_pb2.MODEL_LOADING: 503,
    status_code_pb2.INPUT_OVER_LIMIT: 413,
    status_code_pb2.RPC_REQUEST_QUEUE_FULL: 503,
    status_code_pb2.RPC_SERVER_UNAVAILABLE: 503,
    status_code_pb2.RPC_REQUEST_TIMEOUT: 504,
    status_code_pb2.RPC_MAX_MESSAGE_SIZE_EXCEEDED: 413,
}
# Words in a code's name, looked for in this order.
_HTTP_BY_WORD = (
    ("INTERNAL", 500),
    ("DOES_NOT_EXIST", 404),
    ("NOT_FOUND", 404),
    ("PERMISSION_DENIED", 403),
    ("DUPLICATE", 409),
    ("INVALID", 400),
    ("UNSUPPORTED", 400),
    ("FAILED", 400),
    ("LIMIT", 400),
    ("ERROR", 500),
)


@lru_cache(maxsize=1)
def _published() -> dict[int, str]:
    lines = (resources.files("lehr.protocol") / "status_descriptions.tsv").read_text("utf-8").splitlines()
    rows = (line.split("\t", 1) for line in lines)
    return {int(code): description for code, description in rows}


def describe(code: int) -> str:
    """The published description, or the code's name as words; `Status 12345` for a code nobody knows."""
    published = _published().get(code)
    if published is not None:
        return published
    return NAMES[code].replace("_", " ").capitalize() if code in NAMES else f"Status {code}"


@lru_cache(maxsize=1024)
def http_status(code: int) -> int:
    """The HTTP status that mirrors a code: 200 for successes and for states that are no failure."""
    if code in _HTTP_BY_CODE:
        return _HTTP_BY_CODE[code]
    name = NAMES.get(code, "")
    return next((status for word, status in _HTTP_BY_WORD if word in name), 200)


def status(
    code: int,
    details: str = "",
    *,
    req_id: str = "",
    http: int | None = None,
    percent_completed: int = 0,
    time_remaining: int = 0,
) -> status_pb2.Status:
    """A `Status` with description and HTTP mirror filled in.

    `http` overrides the mirror; `percent_completed` (0 to 100) and `time_remaining` (seconds) tell how far a job is.
    """
    return status_pb2.Status(
        code=code,
        description=describe(code),
        details=details,
        req_id=req_id,
        http_status_code=http_status(code) if http is None else http,
        percent_completed=percent_completed,
        time_remaining=time_remaining,
    )
