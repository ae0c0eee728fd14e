"""What every route uses: the open Stoker and the settings of the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from stoker.settings import Settings
from stoker.stoker import Stoker


def _stoker(request: Request) -> Stoker:
    found: Stoker = request.app.state.stoker
    return found


def _settings(request: Request) -> Settings:
    found: Settings = request.app.state.settings
    return found


def _reader(request: Request) -> Stoker:
    found: Stoker = request.app.state.reader
    return found


OpenStoker = Annotated[Stoker, Depends(_stoker)]
ReadingStoker = Annotated[Stoker, Depends(_reader)]
"""For routes that only read: their SQL goes through a small pool of its own."""
TheSettings = Annotated[Settings, Depends(_settings)]
