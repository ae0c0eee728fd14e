"""What a client accepts and already has: Accept-Encoding, If-None-Match, If-Match (RFC 9110)."""

from __future__ import annotations

import re
from functools import lru_cache

_WEIGHT = re.compile(r"\s*;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_MARKED_TAG = re.compile(r'(W/)?"([^"]*)"')
_OTHER_NAMES = {"x-gzip": "gzip"}
IDENTITY = "identity"


@lru_cache(maxsize=256)  # a few browsers' headers, on the path of every hit
def chosen_coding(accept_encoding: str, offered: tuple[str, ...]) -> str | None:
    """The content coding to send, out of those `offered`, the preferred one first; None: send it as it is.

    RFC 9110, 12.5.3. A client that forbids even the plain body gets it all the same, not a 406.
    """
    weights = _weights(accept_encoding)
    anything = weights.get("*", 0.0)
    best, best_weight = None, weights.get(IDENTITY, 0.0)
    for coding in offered:
        weight = weights.get(coding, anything)
        if weight > best_weight or (weight == best_weight > 0 and best is None):
            best, best_weight = coding, weight
    return best


def has_version(if_none_match: str, etag: str) -> bool:
    """Whether the client has the version with this entity tag (weak comparison; RFC 9110, 13.1.2)."""
    if not if_none_match:
        return False
    if if_none_match == etag or if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/").strip('"') in _TAG.findall(if_none_match)


def is_expected(if_match: str, etag: str) -> bool:
    """Whether this is a version that the client asks for (strong comparison; RFC 9110, 13.1.1)."""
    if not if_match or if_match.strip() == "*":
        return True
    return any(not weak and f'"{tag}"' == etag for weak, tag in _MARKED_TAG.findall(if_match))


def _weights(accept_encoding: str) -> dict[str, float]:
    """The weight of each coding that the header names. One with an invalid weight counts as refused."""
    weights = {}
    for part in accept_encoding.lower().split(","):
        coding, separator, _ = part.partition(";")
        found = _WEIGHT.fullmatch(part[len(coding) :])
        weight = 1.0 if not separator else float(found[1]) if found else 0.0
        if name := coding.strip():
            weights[_OTHER_NAMES.get(name, name)] = weight
    return weights
