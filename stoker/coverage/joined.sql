-- Columns that a foreign key among tables joins.
-- In: tables oid[].
-- Out: table_oid, column; the table_oid and the column that it refers to.
SELECT CAST(k.conrelid AS bigint), CAST(a.attname AS text), CAST(k.confrelid AS bigint), CAST(b.attname AS text)
  FROM pg_constraint k
 CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair(here, there)
  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.here
  JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = pair.there
 WHERE k.contype = 'f'
   AND k.conrelid = ANY(CAST(:tables AS oid[]))
   AND k.confrelid = ANY(CAST(:tables AS oid[]))
 ORDER BY k.oid, pair.here
