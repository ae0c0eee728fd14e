"""The domain that ships with Stoker: medical-device projects on their way to market.

Written as an adopter writes one: only public names of `jobs` are used. Replace this package by your own and
name it in the setting `domain`; nothing else changes.
"""

from __future__ import annotations

from pathlib import Path

from jobs.rules import RULES
from jobs.sample import is_empty, load
from jobs.scopes import PROJECT, USER
from jobs.views import VIEWS
from jobs.warming import WARM_PLANS
from stoker import Domain, SampleData

domain = Domain(
    name="projects",
    scopes=(PROJECT, USER),
    views=VIEWS,
    rules=RULES,
    warm_plans=WARM_PLANS,
    migrations=Path(__file__).with_name("migrations"),
    sample_data=SampleData(load=load, is_empty=is_empty),
)

__all__ = ["domain"]
