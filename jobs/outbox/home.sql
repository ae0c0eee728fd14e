-- The statements of jobs/outbox/home.py, in its order.
-- In: root, mark: the cache that is applied to; at: Postgres' clock before its mark was read.
--
-- STAY: the one cache is the same as before. A row if it is.
UPDATE cache_homes SET noted_at = :at
 WHERE root = :root AND mark = :mark AND apart_since IS NULL
   AND NOT EXISTS (SELECT FROM cache_homes
                    WHERE apart_since IS NULL AND NOT (root = :root AND mark = :mark))
RETURNING root;
-- MOVE: note a cache.
INSERT INTO cache_homes (root, mark, noted_at) VALUES (:root, :mark, :at)
ON CONFLICT (root, mark) DO UPDATE SET noted_at = excluded.noted_at;
-- LEAVE: every other misses changes from now on. Those that it had none of yet.
UPDATE cache_homes SET apart_since = :at
 WHERE apart_since IS NULL AND NOT (root = :root AND mark = :mark)
RETURNING root, mark;
-- RETURN: since when this one has missed changes, if nobody applies to another any more.
SELECT apart_since FROM cache_homes
 WHERE root = :root AND mark = :mark AND apart_since IS NOT NULL
   AND NOT EXISTS (SELECT FROM cache_homes
                    WHERE noted_at > CAST(:at AS timestamptz) - CAST(:left AS interval)
                      AND NOT (root = :root AND mark = :mark));
-- AGAIN: what may have gone to another is to be applied once more. A minute before, too: a process that was frozen
-- after its note settles before its next.
UPDATE cache_events SET settled_at = NULL, attempts = 0, due_at = clock_timestamp()
 WHERE settled_at >= CAST(:since AS timestamptz) - interval '1 minute';
-- SETTLE_IN: it misses nothing any more.
UPDATE cache_homes SET apart_since = NULL WHERE root = :root AND mark = :mark;
-- FORGET: caches of which no entry can be left.
DELETE FROM cache_homes WHERE noted_at < CAST(:at AS timestamptz) - CAST(:keep AS interval);
