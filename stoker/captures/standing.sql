-- The trigger functions of captures that stand in a schema. In: schema, comment. Out: oid, name, comment.
SELECT p.oid, p.proname AS name, d.description AS comment
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_description d ON d.objoid = p.oid AND d.classoid = CAST('pg_proc' AS regclass) AND d.objsubid = 0
 WHERE n.nspname = :schema AND starts_with(d.description, :comment)
 ORDER BY p.proname;

-- Their triggers, without the copies that Postgres made for partitions. In: oids. Out: function, table, name, fires.
SELECT t.tgfoid AS function, format('%I.%I', n.nspname, c.relname) AS table, t.tgname AS name,
       CAST(t.tgenabled AS text) AS fires
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE t.tgfoid = ANY(CAST(:oids AS oid[])) AND t.tgparentid = 0
 ORDER BY 2, 3
