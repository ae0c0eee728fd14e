-- Adds samples to the current minute: gauges keep their maximum, counters add up.
-- In: series, values (parallel arrays), gauges (which of them are gauges).
INSERT INTO stoker.figure_history (span_s, at, series, gauge, value)
SELECT 60, date_trunc('minute', clock_timestamp()), series, gauge, value
FROM unnest(CAST(:series AS varchar[]), CAST(:gauges AS boolean[]), CAST(:values AS float8[]))
    AS sample (series, gauge, value)
ORDER BY series
ON CONFLICT (span_s, at, series) DO UPDATE
SET value = CASE WHEN figure_history.gauge THEN greatest(figure_history.value, excluded.value)
                 ELSE figure_history.value + excluded.value END
