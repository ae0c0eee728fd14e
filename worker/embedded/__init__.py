"""Real Valkey and Postgres from wheels, for development, demo and tests, when no URL is given.

Two Valkeys (`queue`, `cache`) and one Postgres in a data folder, reached through Unix sockets. They
never outlive the process that started them. When one cannot start, `EmbeddedError` says why.
"""

from worker.embedded.folder import Urls
from worker.embedded.process import EmbeddedError, Server
from worker.embedded.servers import Embedded, find, start

__all__ = ["Embedded", "EmbeddedError", "Server", "Urls", "find", "start"]
