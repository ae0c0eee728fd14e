-- The statements of stoker/outbox/identity.py, in its order.
-- In: root, run: the cache that is applied to; at: Postgres' clock before its run was read.
--
-- A cluster's run is the runs of its nodes, with commas in between: it is the same cluster as long as one of them
-- is the same. A single server's run has no comma, so there it is the same run.
--
-- STAY: a row if the only noted cache is this one.
UPDATE stoker.cache_identities SET noted_at = :at, run = :run
 WHERE root = :root AND string_to_array(run, ',') && string_to_array(:run, ',') AND diverged_since IS NULL
   AND NOT EXISTS (SELECT FROM stoker.cache_identities AS other
                    WHERE other.diverged_since IS NULL
                      AND NOT (other.root = :root
                               AND string_to_array(other.run, ',') && string_to_array(:run, ',')))
   AND NOT EXISTS (SELECT FROM stoker.cache_identities AS other
                    WHERE other.diverged_since IS NOT NULL AND other.root = :root AND other.run = :run)
RETURNING root;
-- MOVE: note a cache.
INSERT INTO stoker.cache_identities (root, run, noted_at) VALUES (:root, :run, :at)
ON CONFLICT (root, run) DO UPDATE SET noted_at = excluded.noted_at;
-- LEAVE: every other cache misses changes from now on. Returns those that missed none before.
UPDATE stoker.cache_identities SET diverged_since = :at
 WHERE diverged_since IS NULL AND NOT (root = :root AND run = :run)
RETURNING root, run;
-- RETURN: since when this cache has missed changes, if no process applies to another one any more.
SELECT diverged_since FROM stoker.cache_identities
 WHERE root = :root AND run = :run AND diverged_since IS NOT NULL
   AND NOT EXISTS (SELECT FROM stoker.cache_identities
                    WHERE noted_at > CAST(:at AS timestamptz) - CAST(:left AS interval)
                      AND NOT (root = :root AND run = :run));
-- AGAIN: apply once more what may have gone to another cache, from a minute before on: a process that froze
-- after its note may settle before its next note.
UPDATE stoker.cache_events SET settled_at = NULL, attempts = 0, due_at = clock_timestamp()
 WHERE settled_at >= CAST(:since AS timestamptz) - interval '1 minute';
-- SETTLE_IN: this cache misses no changes any more.
UPDATE stoker.cache_identities SET diverged_since = NULL WHERE root = :root AND run = :run;
-- FORGET: delete caches in which no entry can be left.
DELETE FROM stoker.cache_identities WHERE noted_at < CAST(:at AS timestamptz) - CAST(:keep AS interval);
