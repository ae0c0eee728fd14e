"""Sends requests to any of the web apps, as a load balancer does, and counts what is no answer.

Under faults an outage or no answer is accepted; an unexpected error never is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from pydantic_core import from_json

from stoker.chaos.client import Away, NoReply, Reply
from stoker.chaos.slots import Slot
from stoker.chaos.tally import Tally

LEFT = 499
BAD_REQUEST = frozenset({400, 422})
SERVER_ERROR, OUTAGE = 500, 503


class Sender:
    """The way to the web apps. `faulty`: whether servers and processes are being broken."""

    def __init__(self, webapps: Sequence[Slot], tally: Tally, rng: Random, *, faulty: bool) -> None:
        self.webapps = webapps
        self.tally = tally
        self.rng = rng
        self.faulty = faulty

    async def send(  # noqa: PLR0913 - what a request is
        self,
        method: str,
        path: str,
        reader: int = 0,
        *,
        webapp: Slot | None = None,
        body: object = None,
        etag: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply | None:
        """One request to any web app; None, counted, when there is no answer or only an error.

        A web app that does not listen is passed over, as a load balancer does.
        """
        candidates = [webapp] if webapp else self.rng.sample(self.webapps, len(self.webapps))
        no_answer = f"{method} {path}: no web app listens"
        for asked in candidates:
            try:
                request = asked.client.request(method, path, reader, body=body, etag=etag, headers=headers)
                reply = await request
            except Away:
                continue
            except NoReply as error:
                no_answer = str(error)
                break
            return reply if self._is_answer(reply, f"{method} {path} by {asked.name}") else None
        self._note_silence(no_answer)
        return None

    async def aside(self, path: str, body: object) -> dict[str, Any] | None:
        """Call one of chaos' own routes in a process; None without an answer."""
        reply = await self.send("POST", path, body=body)
        if reply is None:
            return None
        answer: dict[str, Any] = from_json(reply.body)
        return answer

    def _note_silence(self, what: str) -> None:
        self.tally.unanswered += 1
        if not self.faulty:
            self.tally.note("no answer", what)

    def _is_answer(self, reply: Reply, what: str) -> bool:
        """Count an answer that is an outage or an error."""
        if reply.status == LEFT:
            self.tally.left += 1
        elif reply.status == OUTAGE and self.faulty:
            self.tally.outages += 1
        elif (error := _refusal(reply)) is not None and self.faulty:
            self.tally.refusals[error] += 1
        elif reply.status >= SERVER_ERROR:
            self.tally.server_errors += 1
            self.tally.note("5xx", f"{reply.status} {what}: {reply.body[:200].decode(errors='replace')}")
        else:
            return True
        return False


def _refusal(reply: Reply) -> str | None:
    """The name of Stoker's error, other than an outage, if this release cannot serve the request."""
    if reply.status not in BAD_REQUEST and reply.status != SERVER_ERROR:
        return None
    try:
        return str(from_json(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        return None  # a bug: the error was not translated into an answer
