-- The unique indexes of tables.
-- In: tables oid[].
-- Out: table_oid, whether it is the primary key, its columns text[].
SELECT CAST(i.indrelid AS bigint), i.indisprimary,
       ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a
              WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) ORDER BY a.attnum)
  FROM pg_index i
 WHERE i.indisunique AND i.indrelid = ANY(CAST(:tables AS oid[]))
 ORDER BY i.indexrelid
