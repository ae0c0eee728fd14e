-- The table of a name as SQL spells it. In: name text. Out: oid, name, kind; no row if there is none.
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, CAST(c.relkind AS text) AS kind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = to_regclass(CAST(:name AS text));

-- Its columns. In: oid. Out: name, nullable, virtual, is_text.
SELECT a.attname AS name, NOT a.attnotnull AS nullable, a.attgenerated = 'v' AS virtual,
       t.typcategory = 'S' AS is_text
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = CAST(:oid AS oid) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

-- The columns of its primary key, each with its operator of equality. In: oid. Out: name, operator.
SELECT a.attname AS name, format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS operator
  FROM pg_index i
 CROSS JOIN LATERAL unnest(CAST(i.indkey AS smallint[]), CAST(i.indclass AS oid[]))
       WITH ORDINALITY AS k(attnum, opclass, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  JOIN pg_opclass c ON c.oid = k.opclass
  JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
  JOIN pg_amop e ON e.amopfamily = c.opcfamily AND e.amoplefttype = c.opcintype
       AND e.amoprighttype = c.opcintype AND e.amopstrategy = 3
  JOIN pg_operator o ON o.oid = e.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
 WHERE i.indrelid = CAST(:oid AS oid) AND i.indisprimary AND k.place <= i.indnkeyatts
 ORDER BY k.place;

-- The table and all that inherit from it, partitions among them. In: oid. Out: oid, name, is_partition.
WITH RECURSIVE tree AS (
  SELECT CAST(:oid AS oid) AS oid
  UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid
)
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relispartition AS is_partition
  FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p')
 ORDER BY c.oid = CAST(:oid AS oid) DESC, name
