-- The statements of stoker/outbox/identity.py, in its order.
-- In: root, mark: the cache that is applied to; at: Postgres' clock before its mark was read.
--
-- STAY: the one cache is the same as before. A row if it is.
UPDATE stoker.cache_identities SET noted_at = :at
 WHERE root = :root AND mark = :mark AND diverged_since IS NULL
   AND NOT EXISTS (SELECT FROM stoker.cache_identities
                    WHERE diverged_since IS NULL AND NOT (root = :root AND mark = :mark))
RETURNING root;
-- MOVE: note a cache.
INSERT INTO stoker.cache_identities (root, mark, noted_at) VALUES (:root, :mark, :at)
ON CONFLICT (root, mark) DO UPDATE SET noted_at = excluded.noted_at;
-- LEAVE: every other misses changes from now on. Those that it had none of yet.
UPDATE stoker.cache_identities SET diverged_since = :at
 WHERE diverged_since IS NULL AND NOT (root = :root AND mark = :mark)
RETURNING root, mark;
-- RETURN: since when this one has missed changes, if nobody applies to another any more.
SELECT diverged_since FROM stoker.cache_identities
 WHERE root = :root AND mark = :mark AND diverged_since IS NOT NULL
   AND NOT EXISTS (SELECT FROM stoker.cache_identities
                    WHERE noted_at > CAST(:at AS timestamptz) - CAST(:left AS interval)
                      AND NOT (root = :root AND mark = :mark));
-- AGAIN: what may have gone to another is to be applied once more. A minute before, too: a process that was frozen
-- after its note settles before its next.
UPDATE stoker.cache_events SET settled_at = NULL, attempts = 0, due_at = clock_timestamp()
 WHERE settled_at >= CAST(:since AS timestamptz) - interval '1 minute';
-- SETTLE_IN: it misses nothing any more.
UPDATE stoker.cache_identities SET diverged_since = NULL WHERE root = :root AND mark = :mark;
-- FORGET: caches of which no entry can be left.
DELETE FROM stoker.cache_identities WHERE noted_at < CAST(:at AS timestamptz) - CAST(:keep AS interval);
