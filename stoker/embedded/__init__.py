"""Real Valkey and Postgres from wheels, for development, demo and tests, when no URL is given.

Two Valkeys (`queue`, `cache`) and one Postgres in a data folder, reached through Unix sockets. They
never outlive the process that started them. When one cannot start, `EmbeddedError` says why.
"""

from stoker.embedded.folder import Urls
from stoker.embedded.process import EmbeddedError, Server
from stoker.embedded.servers import Embedded, find, start

__all__ = ["Embedded", "EmbeddedError", "Server", "Urls", "find", "start"]
