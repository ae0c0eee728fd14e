-- Pages of users' projects, each with filters of its own.
-- Arguments: arrays of equal length: user_ids bigint[], statuses text[], device_types text[], patterns text[]
--   (ILIKE, over name and device type), limits int[], offsets int[]; NULL means no filter.
-- Result: id (position in the arrays, from 1), value; no row for a user who is missing or not active.
-- Reads: projects, users, project_members.
SELECT k.position AS id,
       json_build_object(
           'items', page.items,
           'total', page.total,
           'limit', k.size,
           'offset', k.start
       ) AS value
  FROM unnest(CAST(:user_ids AS bigint[]), CAST(:statuses AS text[]), CAST(:device_types AS text[]),
              CAST(:patterns AS text[]), CAST(:limits AS int[]), CAST(:offsets AS int[]))
       WITH ORDINALITY AS k(user_id, status, device_type, pattern, size, start, position)
  JOIN users u ON u.id = k.user_id AND u.active
 CROSS JOIN LATERAL (
      WITH visible AS (
          SELECT project_id AS id FROM project_members WHERE user_id = k.user_id
           UNION
          SELECT id FROM projects WHERE owner_id = k.user_id
      ), matching AS (
          SELECT p.*
            FROM visible
                 -- OFFSET 0 keeps the filters out: no plan may try them on projects that nobody asked for.
           CROSS JOIN LATERAL (SELECT id, owner_id, name, status, device_type, created_at, updated_at, revision
                                 FROM projects WHERE id = visible.id OFFSET 0) p
           WHERE (k.status IS NULL OR p.status = k.status)
             AND (k.device_type IS NULL OR p.device_type = k.device_type)
             AND (k.pattern IS NULL OR p.name ILIKE k.pattern OR p.device_type ILIKE k.pattern)
      )
      SELECT (SELECT count(*) FROM matching) AS total,
             (SELECT coalesce(json_agg(json_build_object(
                         'id', p.id,
                         'name', p.name,
                         'status', p.status,
                         'device_type', p.device_type,
                         'role', CASE WHEN p.owner_id = k.user_id THEN 'owner' ELSE m.role END,
                         'owner', json_build_object('id', o.id, 'name', o.name),
                         'created_at', to_char(p.created_at AT TIME ZONE 'UTC',
                                               'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                         'updated_at', to_char(p.updated_at AT TIME ZONE 'UTC',
                                               'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                         'revision', p.revision
                     ) ORDER BY p.updated_at DESC, p.id DESC), '[]')
                FROM (SELECT *
                        FROM matching
                       ORDER BY updated_at DESC, id DESC
                       LIMIT k.size OFFSET k.start) p
                JOIN users o ON o.id = p.owner_id
                LEFT JOIN project_members m ON m.project_id = p.id AND m.user_id = k.user_id) AS items
  ) page
