"""Lines and conditions without which every scenario holds, each with the reason why it stands there."""

from __future__ import annotations

from collections.abc import Mapping

WISH = (
    "cancelling and redis.call('SISMEMBER', prefix .. ':cancelling', id) == 1"
    " or aborting and redis.call('ZSCORE', 'arq:abort', id)"
)
NEEDLESS: Mapping[str, Mapping[str, str]] = {
    "batch": {},
    "begin": {},
    "cancel": {},
    "claim": {
        "#due == 0 [#due == 0 = false]": "saves the rounds in which nothing is due",
        "free <= 0 or met >= MOST_MET [free <= 0 = false]": "saves a command once every slot is filled",
    },
    "depth": {
        "holding [holding = true]": "saves commands of empty lanes: an idle console asks every few seconds",
        "queued > 0 [queued > 0 = true]": "the same",
        "ready > 0 [ready > 0 = true]": "the same",
    },
    "enqueue": {
        "digest ~= '' [digest ~= '' = true]": "saves asking for the flag of no key, which nobody has set",
    },
    "finish": {},
    "prelude": {
        "not is_rated(key) [not is_rated(key) = false]": "saves a command for fair keys, which have no rate",
    },
    "upkeep": {
        "#expired == 0 [#expired == 0 = false]": "saves asking for the first job where none is rescued",
        "aborting [aborting = true]": "saves asking for aborts where nobody uses arq's client",
        f"{WISH} [cancelling = true]": "saves asking about each job where nobody has a wish",
        f"{WISH} [aborting = true]": "the same",
        "next[2] [next[2] = true]": "saves counting parked jobs of empty lanes: they lie in the lane, too",
    },
}
