-- Computes the spans of one length anew from those of the next shorter one. Safe to run twice, or at once.
-- In: from_s, to_s (lengths, seconds), unit (minute, hour, day), since (the first span to compute).
INSERT INTO stoker.figure_history (span_s, at, series, gauge, value)
SELECT CAST(:to_s AS integer), date_trunc(:unit, at, 'UTC') AS begun, series, bool_or(gauge),
       CASE WHEN bool_or(gauge) THEN max(value) ELSE sum(value) END
FROM stoker.figure_history
WHERE span_s = :from_s AND at >= date_trunc(:unit, CAST(:since AS timestamptz), 'UTC')
GROUP BY begun, series
ORDER BY begun, series
ON CONFLICT (span_s, at, series) DO UPDATE SET value = excluded.value
WHERE figure_history.value IS DISTINCT FROM excluded.value
