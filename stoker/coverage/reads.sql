-- What a function of one statement depends on, as Postgres itself found when the function was made.
-- In: function, its oid.
-- Out: table_oid, name of a table as the search path shows it, column (null: only that the table is read),
--   unseen (null, or the function whose body Postgres does not analyse; then there is no table).
-- Views are followed to their tables, functions whose body is parsed into it, row security to its policies.
WITH RECURSIVE reached(classid, objid) AS (
    SELECT CAST(CAST('pg_proc' AS regclass) AS oid), CAST(:function AS oid)
     UNION
    SELECT next.classid, next.objid
      FROM reached r
     CROSS JOIN LATERAL (
          SELECT d.refclassid AS classid, d.refobjid AS objid
            FROM pg_depend d
           WHERE d.classid = r.classid AND d.objid = r.objid
             AND r.classid IN (CAST('pg_proc' AS regclass), CAST('pg_rewrite' AS regclass),
                               CAST('pg_operator' AS regclass), CAST('pg_policy' AS regclass),
                               CAST('pg_cast' AS regclass))
           UNION ALL
          SELECT CAST('pg_rewrite' AS regclass), w.oid
            FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
           WHERE r.classid = CAST('pg_class' AS regclass) AND c.oid = r.objid AND c.relkind = 'v'
           UNION ALL
          SELECT CAST('pg_policy' AS regclass), p.oid
            FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
           WHERE r.classid = CAST('pg_class' AS regclass) AND c.oid = r.objid AND c.relrowsecurity
          ) next
), trees AS (
    -- A reference to a whole row is no dependency on its columns, but stands in the stored tree.
    SELECT CAST(p.prosqlbody AS text) AS tree
      FROM reached r JOIN pg_proc p ON r.classid = CAST('pg_proc' AS regclass) AND p.oid = r.objid
     UNION ALL
    SELECT CAST(w.ev_action AS text)
      FROM reached r JOIN pg_rewrite w ON r.classid = CAST('pg_rewrite' AS regclass) AND w.oid = r.objid
), referred AS (
    SELECT d.refobjid AS table_oid, CAST(d.refobjsubid AS int) AS number
      FROM reached r
      JOIN pg_depend d ON d.classid = r.classid AND d.objid = r.objid
     WHERE d.refclassid = CAST('pg_class' AS regclass)
       AND r.classid IN (CAST('pg_proc' AS regclass), CAST('pg_rewrite' AS regclass),
                         CAST('pg_policy' AS regclass))
     UNION
    SELECT t.typrelid, a.attnum
      FROM trees
     CROSS JOIN LATERAL regexp_matches(tree, '\{VAR .varno \d+ .varattno 0 .vartype (\d+)', 'g') AS whole
      JOIN pg_type t ON t.oid = CAST(whole[1] AS oid)
      JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT f.table_oid, CAST(CAST(f.table_oid AS regclass) AS text) AS table_name, a.attname AS column_name,
       CAST(NULL AS text) AS unseen
  FROM referred f
  JOIN pg_class c ON c.oid = f.table_oid AND c.relkind IN ('r', 'p', 'f', 'm')
  LEFT JOIN pg_attribute a ON a.attrelid = f.table_oid AND a.attnum = f.number AND a.attnum > 0
 UNION
SELECT NULL, NULL, NULL, 'function ' || CAST(CAST(p.oid AS regprocedure) AS text) || ' (' || l.lanname || ')'
  FROM reached r
  JOIN pg_proc p ON r.classid = CAST('pg_proc' AS regclass) AND p.oid = r.objid
  JOIN pg_language l ON l.oid = p.prolang
 WHERE p.provolatile <> 'i' AND p.prosqlbody IS NULL AND p.prokind <> 'a'
   AND l.lanname NOT IN ('internal', 'c')
