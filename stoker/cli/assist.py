"""`stoker mcp`: answers an assistant's questions over its standard input and output; changes nothing."""

from __future__ import annotations

import asyncio

from stoker.cli.opened import As
from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.errors import SettingsError
from stoker.operations.audit import local_actor
from stoker.settings import Settings
from stoker.stoker import Stoker


def mcp(data: Data = DATA, *, embedded: Embedded = False, as_name: As = None) -> None:
    """Serve the Model Context Protocol on stdin and stdout: read only, audited, without payloads.

    An assistant starts this command itself, such as: {"command": "stoker", "args": ["mcp"]}.
    """
    try:
        import stoker.mcp.server  # noqa: F401, PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        raise SettingsError("stoker mcp needs the extra: pip install 'stoker[mcp]'") from error
    with session(embedded=embedded, data=data) as servers:
        asyncio.run(_serve(servers.settings, as_name))


async def _serve(settings: Settings, as_name: str | None) -> None:
    from stoker.mcp.server import server_of  # noqa: PLC0415 - checked above

    actor = local_actor(as_name)
    async with Stoker.opened(settings) as stoker:
        await server_of(stoker, settings, actor).run_stdio_async()
