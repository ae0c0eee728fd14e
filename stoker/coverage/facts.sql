-- What tables are made of, as far as a change of one of their rows has to know.
-- In: tables oid[].
-- Out, a row for each column: table_oid, table_name (as the search path shows it), bare (its name alone), kind (pg_class.relkind),
--   column_name, type (with its length), category (pg_type.typcategory), labels text[] (of an enumeration),
--   nullable, given (the application may write it), has_default.
SELECT CAST(c.oid AS bigint) AS table_oid, CAST(CAST(c.oid AS regclass) AS text) AS table_name,
       CAST(c.relname AS text) AS bare, CAST(c.relkind AS text) AS kind,
       CAST(a.attname AS text) AS column_name,
       format_type(a.atttypid, a.atttypmod) AS type,
       CAST(coalesce(base.typcategory, t.typcategory) AS text) AS category,
       ARRAY(SELECT CAST(e.enumlabel AS text) FROM pg_enum e
              WHERE e.enumtypid = coalesce(base.oid, t.oid) ORDER BY e.enumsortorder) AS labels,
       NOT a.attnotnull AND NOT t.typnotnull AS nullable,
       a.attgenerated = '' AND a.attidentity <> 'a' AS given,
       a.atthasdef OR a.attidentity <> '' AS has_default
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_type base ON base.oid = t.typbasetype
 WHERE c.oid = ANY(CAST(:tables AS oid[]))
 ORDER BY c.oid, a.attnum
