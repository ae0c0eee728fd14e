-- Tables whose rows take others along: a removed or changed row of theirs changes rows of the given tables.
-- In: tables oid[].
-- Out: table_oid.
WITH RECURSIVE reached(oid) AS (
    SELECT unnest(CAST(:tables AS oid[]))
     UNION
    SELECT k.confrelid
      FROM reached r JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype = 'f'
     WHERE k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')
)
SELECT CAST(oid AS bigint) FROM reached
