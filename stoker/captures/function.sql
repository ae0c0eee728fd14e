-- The trigger function of a capture, for statements and, where session_replication_role is `replica`, for rows:
-- the apply process of logical replication fires no triggers of statements. function.py fills in:
--   function, guc, events, table: names     kind, recorded_by, ask, whole: literals     most: a number
--   inserted, deleted, updated: queries of the distinct sets of fields     object: a set `s` as jsonb
--   old, new: the fields of a row as jsonb     changed: whether a watched column of a row changed
--   single: of the first old and new row, the set; null in JSON if nothing changed, NULL if the set did
--   witness: the number of a column in which the first rows differ     many: a number of rows
--   proven: each set of fields, and whether rows of it certainly changed
-- What is computed may fail, as after a column was renamed: then the statement goes on, and whole views are
-- invalidated. What is written is not allowed to fail.
CREATE OR REPLACE FUNCTION {{function}}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
-- The name of an object that a writer made must not be found here. The others: the plan may have been made for one
-- row, and is used for a million; hashing is right for both.
SET search_path = pg_catalog, pg_temp SET work_mem = '32MB' SET jit = off
SET enable_sort = off SET enable_mergejoin = off
AS $stoker$
<<stoker>>
DECLARE
  sets jsonb[];
  first jsonb[];
  witness integer;
  before text;
  told integer;
BEGIN
  BEGIN
    IF TG_LEVEL = 'ROW' THEN
      IF TG_OP = 'INSERT' THEN
        sets := ARRAY[{{new}}];
      ELSIF TG_OP = 'DELETE' THEN
        sets := ARRAY[{{old}}];
      ELSIF {{changed}} THEN
        sets := ARRAY(SELECT DISTINCT s FROM unnest(ARRAY[{{old}}, {{new}}]) AS s);
      ELSE
        RETURN NULL;
      END IF;
    ELSIF TG_OP = 'UPDATE' THEN
      -- Most statements change one row, and to join old and new rows by the key costs three times as much.
      first := ARRAY({{single}} LIMIT 2);
      IF cardinality(first) = 1 AND first[1] IS NOT NULL THEN
        IF first[1] = 'null' THEN
          RETURN NULL;
        END IF;
        sets := first;
      ELSE
        IF (SELECT count(*) FROM (SELECT FROM new_rows LIMIT {{many}}) AS few) = {{many}} THEN
          witness := ({{witness}});
          sets := ARRAY(SELECT {{proven_object}} FROM ({{proven}} LIMIT {{most}} + 1) AS s);
        END IF;
        IF sets IS NULL OR array_position(sets, NULL) IS NOT NULL THEN
          sets := ARRAY(SELECT {{object}} FROM ({{updated}} LIMIT {{most}} + 1) AS s);
        END IF;
      END IF;
    ELSIF TG_OP = 'INSERT' THEN
      sets := ARRAY(SELECT {{object}} FROM ({{inserted}} LIMIT {{most}} + 1) AS s);
    ELSIF TG_OP = 'DELETE' THEN
      sets := ARRAY(SELECT {{object}} FROM ({{deleted}} LIMIT {{most}} + 1) AS s);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'the capture of % failed, whole views are invalidated: %', {{table}}, SQLERRM
      USING HINT = 'Run: stoker captures diff';
    sets := NULL;
  END;
  IF TG_LEVEL = 'ROW' THEN
    -- What this transaction has recorded here: a number, then the last set. A savepoint that is rolled back
    -- takes it back.
    before := coalesce(current_setting({{guc}}, true), '');
    told := coalesce(nullif(split_part(before, ' ', 1), ''), '0');
    IF told > {{most}} OR substr(before, strpos(before, ' ') + 1) = coalesce(CAST(sets AS text), 'whole') THEN
      RETURN NULL;
    ELSIF told = {{most}} THEN
      sets := NULL;
    END IF;
    PERFORM set_config({{guc}}, told + 1 || ' ' || coalesce(CAST(sets AS text), 'whole'), true);
  END IF;
  IF sets IS NULL OR cardinality(sets) > {{most}} THEN
    INSERT INTO {{events}} (kind, payload, scopes, recorded_by, trace)
    VALUES ({{kind}}, 'null', {{whole}}, {{recorded_by}}, left(nullif(current_setting('stoker.trace', true), ''), 55));
  ELSIF cardinality(sets) > 0 THEN
    INSERT INTO {{events}} (kind, payload, scopes, recorded_by, trace)
    SELECT {{kind}}, said, {{ask}}, {{recorded_by}}, left(nullif(current_setting('stoker.trace', true), ''), 55)
      FROM unnest(sets) AS said;
  END IF;
  RETURN NULL;
END
$stoker$
