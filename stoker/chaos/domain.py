"""The domain of a process under chaos: the workload's, as its release knows it, with the additions of chaos.

The setting `domain` names this module, so the web app opens its Stoker as it does without chaos.
"""

from __future__ import annotations

import os

from stoker.chaos import acts
from stoker.chaos.surroundings import OLDER, WORKLOAD
from stoker.chaos.workload import load_workload
from stoker.domain import load_domain

workload = load_workload(os.environ[WORKLOAD])
domain = acts.changed(load_domain(workload.domain))
if os.environ.get(OLDER):
    domain = acts.as_older(workload.older(domain))
