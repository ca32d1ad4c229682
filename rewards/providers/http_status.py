"""What a status that is not 200 means: whether and when to try again, and what to tell."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED = frozenset({408, 409, 429, *range(500, 600)})
ADVICE = {
    401: "name the environment variable that holds the key with provider.key_env=...",
    403: "check that the key in provider.key_env may use this model",
    404: "check provider.base_url (usually ending in /v1) and provider.model",
    413: "send fewer or smaller images",
    429: "wait, or ask for a higher rate limit",
    529: "the service is overloaded: try again later",
}


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def http_error(status: int, text: str, base_url: str) -> str:
    """Return one line on an answer that is none: what the server said, and what to do."""
    advice = ADVICE.get(status, "check the server and the provider settings")
    if 300 <= status < 400:
        advice = "redirects are not followed: set provider.base_url to the final address"
    said = " ".join(text[:200].split())
    return f"the server at {base_url} answered HTTP {status} ({said}); {advice}"
