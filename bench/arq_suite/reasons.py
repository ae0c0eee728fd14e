"""Why tests of arq's suite do not pass. docs/arq.md says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LOOP = "It calls a step of arq's own loop, which Stoker does not have."
SIGNALS = "It replaces arq's tasks by mocks, or reads arq's log lines about a signal. Stoker stops in order."
KEYS = "It wants no key in Redis but arq's. Stoker keeps totals of the lane and a few keys of its own there."
SKIPPED = "arq itself skips it."
ZONES = "It wants the package pytz. Stoker takes no part in it."
ABORTS = "An abort is obeyed, whatever `allow_abort_jobs` says."
ROUNDED = "It wants a time to live to the millisecond, a moment after it was set."


def _of(reason: str, file: str, names: Iterable[str]) -> dict[str, str]:
    return {f"{file}::{name}": reason for name in names}


REASONS: Mapping[str, str] = {
    **_of(
        LOOP,
        "test_worker.py",
        (
            "test_job_retry_race_condition",
            "test_queue_read_limit_equals_max_jobs",
            "test_custom_queue_read_limit",
            "test_max_bursts_dont_get",
            "test_multi_exec",
            "test_worker_retry[exception_thrown0]",
            "test_worker_retry[exception_thrown1]",
            "test_worker_crash[exception_thrown0]",
            "test_worker_crash[exception_thrown1]",
        ),
    ),
    **_of(LOOP, "test_cron.py", ("test_calculate_next_is_called_with_aware_datetime",)),
    **_of(
        SIGNALS,
        "test_worker.py",
        (
            "test_handle_sig",
            "test_handle_no_sig",
            "test_worker_signal_completes_job_before_shutting_down",
        ),
    ),
    **_of(
        KEYS,
        "test_worker.py",
        (
            "test_set_health_check_key",
            "test_remain_keys",
            "test_remain_keys_no_results",
            "test_remain_keys_keep_results_forever_in_function",
            "test_remain_keys_keep_results_forever",
        ),
    ),
    **_of(SKIPPED, "test_worker.py", ("test_cancel_error",)),
    **_of(SKIPPED, "test_utils.py", ("test_redis_sentinel_failure",)),
    **_of(ZONES, "test_utils.py", ("test_ms_to_datetime_tz", "test_ms_to_datetime_tz_invalid")),
}
BY_CHANCE: Mapping[str, str] = {
    **_of(ABORTS, "test_worker.py", ("test_not_abort_job",)),
    **_of(
        ROUNDED,
        "test_worker.py",
        ("test_default_job_expiry[1000000-1000000]", "test_default_job_expiry[10000000-10000000]"),
    ),
}
"""Tests that pass or not, as time will have it."""
