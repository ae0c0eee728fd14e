"""What every route works with: the open Stoker and the settings of the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from stoker.stoker import Stoker
from stoker.worker.settings import WorkerSettings


def _stoker(request: Request) -> Stoker:
    found: Stoker = request.app.state.stoker
    return found


def _settings(request: Request) -> WorkerSettings:
    found: WorkerSettings = request.app.state.settings
    return found


OpenStoker = Annotated[Stoker, Depends(_stoker)]
TheSettings = Annotated[WorkerSettings, Depends(_settings)]
