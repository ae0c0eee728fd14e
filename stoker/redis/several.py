"""Several commands of a cluster at once: one packet to each node that they concern, to all at the same time.

A NodeAway stands for each answer that could not be had; what a node has passed on to another one is asked
there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from stoker.errors import CacheUnavailable
from stoker.redis.cache import Answer, NodeAway
from stoker.redis.connection import ServerRun
from stoker.redis.nodes import Node, Primaries, named
from stoker.redis.slots import slot_of

Command = tuple[Any, ...]
NOWHERE = ServerRun(b"", 0)
"""The server of a reply that did not come."""


async def ask_each(
    primaries: Primaries,
    asked: Sequence[tuple[bytes, str]],
    again: Callable[[bytes, str], Awaitable[Answer]],
) -> Sequence[Answer | NodeAway]:
    """The answers to packed commands, each with one of its keys. `again`: asks for one by itself."""
    answers: list[Any] = [None] * len(asked)
    places: dict[Node, list[int]] = defaultdict(list)
    for place, (_, key) in enumerate(asked):
        node = primaries.owners[slot_of(key)]
        try:
            if node is None or node.away is not None:
                node = await primaries.owner(slot_of(key))
            places[node].append(place)
        except NodeAway as error:
            answers[place] = error

    async def ask(node: Node, where: Sequence[int]) -> None:
        try:
            told = await primaries.asked(node, b"".join([asked[at][0] for at in where]), len(where))
        except NodeAway as error:
            for at in where:
                answers[at] = error
            return
        for at, reply in zip(where, told.replies, strict=True):
            answers[at] = Answer([reply], told.server)
            if isinstance(reply, ResponseError):  # another node has it, or it is being moved
                try:
                    answers[at] = await again(*asked[at])
                except NodeAway as error:
                    answers[at] = error

    await asyncio.gather(*(ask(node, where) for node, where in places.items()))
    return answers


async def call(primaries: Primaries, commands: Sequence[Command]) -> Answer:
    """The replies to commands, each from the node of its first key; raises CacheUnavailable without a map."""
    calls = _Calls(primaries, commands)
    places: dict[Node, list[int]] = defaultdict(list)
    for place, command in enumerate(commands):
        try:
            places[await _node_of(primaries, command)].append(place)
        except NodeAway as error:
            calls.replies[place] = error
    await asyncio.gather(*(calls.to(node, where) for node, where in places.items()))
    answering = next((server for server in calls.servers if server is not NOWHERE), NOWHERE)
    return Answer(calls.replies, answering, calls.servers)


async def _node_of(primaries: Primaries, command: Command) -> Node:
    key = command[3] if command[0] in {"EVALSHA", "EVAL"} else command[1] if len(command) > 1 else None
    if key is not None:
        return await primaries.owner(slot_of(key), to_unlink=command[0] == "UNLINK")
    return (await primaries.answering())[0]


class _Calls:
    """What came of each command, and from which server."""

    def __init__(self, primaries: Primaries, commands: Sequence[Command]) -> None:
        self._primaries = primaries
        self._commands = commands
        self.replies: list[Any] = [None] * len(commands)
        self.servers = [NOWHERE] * len(commands)

    async def to(self, node: Node, places: Sequence[int]) -> None:
        """Send the commands at these places to a node."""
        try:
            answer = await node.client.call(*(self._commands[place] for place in places))
        except CacheUnavailable as error:
            lost = self._primaries.lost(node, error)
            for place in places:
                self.replies[place] = lost
            return
        for place, reply in zip(places, answer.replies, strict=True):
            self.replies[place], self.servers[place] = reply, answer.server
            if isinstance(reply, ResponseError):
                found = await self._redirected(node, self._commands[place], reply)
                self.replies[place], self.servers[place] = found

    async def _redirected(self, node: Node, command: Command, error: ResponseError) -> tuple[Any, ServerRun]:
        """The reply of the node that this one has named, if it has named one."""
        primaries = self._primaries
        to: Node | None = None
        try:
            if str(error).startswith("ASK ") and command[0] != "EVALSHA":
                # One key: nothing else of its slot is asked for.
                to, sent = primaries.node_at(named(node, error)), [("ASKING",), command]
            else:
                to, sent = primaries.moved(node, error), [command]
            if to is None:
                primaries.refuse_elsewhere(node, error)
                return error, NOWHERE
            answer = await to.client.call(*sent)
            reply = answer.replies[-1]
            primaries.refuse_elsewhere(to, reply)
        except NodeAway as away:
            return away, NOWHERE
        except CacheUnavailable as away:
            return primaries.lost(to or node, away), NOWHERE
        return reply, answer.server
