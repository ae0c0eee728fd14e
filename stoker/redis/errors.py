"""What a connection raises, whichever role its server has. The roles translate it; see stoker/errors.py."""

from __future__ import annotations


class RedisAway(Exception):
    """The server does not answer in time, or it cannot be used."""


class Unidentified(RedisAway):
    """The server does not tell which run of it this is, and nothing can be put in the place of that."""


class ConnectionLost(RedisAway):
    """The connection broke while replies were outstanding."""
