"""CPU of prediction in a worker that knows 20,000 entries and 2,000 readers, as a share of one core."""

from __future__ import annotations

import random
import time

from zstandard import ZstdCompressor

from bench.figures import Figure
from bench.ground import SEED, Bench
from stoker.prediction.activity import ENTRIES_KEPT, READERS_KEPT
from stoker.prediction.features import Kind
from stoker.prediction.live import Live
from stoker.prediction.snapshot import dump
from stoker.worker.forecaster import SAVE_EVERY_S, STEP

IDS = ("predict-cost",)
BEGIN = 1_704_067_200.0
HOURS = 100
READS_AN_HOUR, READS_A_STEP = 1_500, 2_000
STEPS = 5
PAGE = Kind(3, 1800.0)
NOTE = "a minute's step with 2,000 visits, all entries read lately; and its part of a save each five minutes"


async def measure(bench: Bench) -> list[Figure]:
    """Each block is one step of a minute; no server takes part."""
    draw = random.Random(SEED)
    count = bench.scale.count(ENTRIES_KEPT, least=1000)
    names = [f'["dashboard","project","{number}",""]' for number in range(count)]
    live = Live(lambda _: PAGE, rate=0.1)

    def read(at: float, how_many: int) -> None:
        for number in range(how_many):
            live.read(at + number * 0.01, f"reader-{draw.randrange(READERS_KEPT)}", draw.choice(names))

    for hour in range(HOURS):
        read(BEGIN + hour * 3600, READS_AN_HOUR)
    now = BEGIN + HOURS * 3600
    for number, name in enumerate(names):
        live.read(now + number * 0.001, f"reader-{number % READERS_KEPT}", name)
    taken: list[float] = []
    for _ in range(STEPS):
        now += STEP.total_seconds()
        began = time.process_time()
        read(now - 30, READS_A_STEP)
        live.plan(now, STEP.total_seconds(), names, lambda _: 0.02)
        stepped = time.process_time()
        ZstdCompressor(level=1).compress(dump(live))
        saved_s = time.process_time() - stepped
        taken.append(stepped - began + saved_s * STEP.total_seconds() / SAVE_EVERY_S)
    return [Figure("predict-cost", "a minute of one core", "s", "<= 0.02", taken, [60.0] * STEPS, NOTE)]
