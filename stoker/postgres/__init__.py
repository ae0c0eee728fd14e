"""SQL engines, short queries, and the one place where drivers' errors become Stoker's."""

from stoker.postgres.engines import CONNECT_S, application_engine, engine_of, loader_engine, reading_engine
from stoker.postgres.errors import database_errors, is_outage, was_a_write, was_canceled
from stoker.postgres.questions import QUESTION_S, fetched, promptly, short_connection, sign_of_life

OLDEST_POSTGRES = 14

__all__ = [
    "CONNECT_S",
    "OLDEST_POSTGRES",
    "QUESTION_S",
    "application_engine",
    "database_errors",
    "engine_of",
    "fetched",
    "is_outage",
    "loader_engine",
    "promptly",
    "reading_engine",
    "short_connection",
    "sign_of_life",
    "was_a_write",
    "was_canceled",
]
