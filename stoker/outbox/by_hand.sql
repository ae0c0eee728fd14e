-- SELECT stoker.invalidate('tenant', '7'): records an invalidation in the transaction of whoever calls it, and
-- returns the event's id. by_hand.py fills in: schema; kind, a literal; known, what the domain has, as jsonb:
-- {scope kind: {"id": pattern of its ids, "views": [...]}}.
CREATE OR REPLACE FUNCTION {{schema}}.invalidate(
  kind text, id text, views text[] DEFAULT '{}', hard boolean DEFAULT false
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $stoker$
DECLARE
  known CONSTANT jsonb := {{known}};
  all_views CONSTANT text[] := ARRAY(SELECT jsonb_array_elements_text(known->kind->'views'));
  event_id bigint;
BEGIN
  IF kind IS NULL OR NOT known ? kind THEN
    RAISE EXCEPTION 'no scope kind %; there are: %', quote_nullable(kind),
      (SELECT string_agg(one, ', ' ORDER BY one) FROM jsonb_object_keys(known) AS one);
  ELSIF id IS NULL OR id !~ (known->kind->>'id') THEN
    RAISE EXCEPTION 'no id of a %: %', kind, quote_nullable(id);
  ELSIF NOT coalesce(views, '{}') <@ all_views THEN
    RAISE EXCEPTION '% has no such view: %; there are: %', kind, array_to_string(views, ', '),
      array_to_string(all_views, ', ');
  END IF;
  INSERT INTO {{schema}}.cache_events (kind, payload, scopes, recorded_by, trace)
  VALUES (
    {{kind}},
    jsonb_build_object('scopes', jsonb_build_array(
      jsonb_build_array(invalidate.kind, invalidate.id, coalesce(views, '{}'), coalesce(hard, false)))),
    jsonb_build_array(jsonb_build_array(
      invalidate.kind, invalidate.id, CASE WHEN cardinality(views) > 0 THEN views ELSE all_views END,
      CAST(coalesce(hard, false) AS integer), CAST(coalesce(cardinality(views), 0) = 0 AS integer))),
    'sql', left(nullif(current_setting('stoker.trace', true), ''), 55)
  ) RETURNING cache_events.id INTO event_id;
  RETURN event_id;
END
$stoker$
