-- An index for searching failures by any part of their message. It needs pg_trgm, which comes with Postgres and which
-- the owner of a database may create; where a server does not have it, or does not allow it, a search scans all
-- failures that are kept (50,000 at most), within api.read_timeout_s.
DO $$
DECLARE
  place text;
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA stoker;
  SELECT quote_ident(nspname) INTO place
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_trgm';
  EXECUTE format(
    'CREATE INDEX job_history_error ON stoker.job_history USING gin (error %s.gin_trgm_ops) WHERE error IS NOT NULL',
    place
  );
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'no index for searching failures: %', SQLERRM;
END
$$
