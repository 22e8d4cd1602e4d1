"""Expiring signed addresses for what a client fetches by plain HTTP without a key: training logs."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import parse_qs

from lehr.errors import KeyInvalid

DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Signs paths with HMAC-SHA-256 (RFC 2104). Every server of one store shares the secret."""

    secret: bytes
    lifetime_seconds: int = 7 * DAY

    def signed(self, path: str, *, now: float | None = None) -> str:
        """`path` with `expires` and `signature` added.

        The expiry is rounded up to a whole day, so that a list asked for twice carries equal addresses.
        """
        now = time.time() if now is None else now
        expires = (int(now + self.lifetime_seconds) // DAY + 1) * DAY
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def check(self, path: str, query: str, *, now: float | None = None) -> None:
        """Raises KeyInvalid unless the query string carries a signature of this path that has not expired."""
        values = {name: items[0] for name, items in parse_qs(query).items()}
        expires, signature = values.get("expires", ""), values.get("signature", "")
        if not hmac.compare_digest(self._signature(path, expires).encode(), signature.encode()):
            raise KeyInvalid("This address is not signed by this server: ask the API for it again.")
        if int(expires) < (time.time() if now is None else now):
            raise KeyInvalid("This address has expired: ask the API for it again.")

    def _signature(self, path: str, expires: int | str) -> str:
        return hmac.new(self.secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
