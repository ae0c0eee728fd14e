"""What a connection raises, whichever role its server has. The roles translate it; see stoker/errors.py."""

from __future__ import annotations


class RedisAway(Exception):
    """The server does not answer in time, or it cannot be used."""


class Unidentified(RedisAway):
    """The server shows no run id, and no nonce can be stored in its place."""


class ConnectionLost(RedisAway):
    """The connection broke while replies were outstanding."""
