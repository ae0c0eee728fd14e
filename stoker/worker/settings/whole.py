"""All settings of a worker: those of `jobs`, and the tables that only it reads."""

from __future__ import annotations

import os
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from stoker.settings import Settings
from stoker.worker.settings.api import ApiSettings
from stoker.worker.settings.process import LanesSettings, LogSettings, ProcessSettings
from stoker.worker.settings.schedule import ScheduleSettings

WARMING_VARIABLE = "ENABLE_BACKGROUND_WARMING"


class WorkerSettings(Settings):
    """All that the worker process, the API and the CLI need."""

    worker: ProcessSettings = ProcessSettings()
    lanes: LanesSettings = LanesSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """As in `Settings`, with the one variable that reaches into a table by a name of its own."""
        arguments, *others = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return arguments, _Warming(settings_cls), *others


class _Warming(PydanticBaseSettingsSource):
    """ENABLE_BACKGROUND_WARMING -> schedule.enable_background_warming."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401 - pydantic's
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        value = os.environ.get(WARMING_VARIABLE)
        return {"schedule": {"enable_background_warming": value}} if value else {}
