"""Every guard that a race names, and how to take it away before a process is opened."""

from collections.abc import Mapping

from tests.races.guards import (
    answers,
    changes,
    filling,
    identity,
    nodes,
    parents,
    queue,
    reading,
    releases,
    revocations,
    server,
    silence,
    terms,
    warming,
)
from tests.races.guards.away import Removal

GUARDS: Mapping[str, Removal] = {
    **server.GUARDS,
    **reading.GUARDS,
    **filling.GUARDS,
    **parents.GUARDS,
    **changes.GUARDS,
    **terms.GUARDS,
    **releases.GUARDS,
    **revocations.GUARDS,
    **queue.GUARDS,
    **identity.GUARDS,
    **nodes.GUARDS,
    **silence.GUARDS,
    **answers.GUARDS,
    **warming.GUARDS,
}
