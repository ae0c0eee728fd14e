-- What users find among their projects.
-- Arguments: arrays of equal length: user_ids bigint[], patterns text[] (ILIKE), limits int[].
-- Result: id (position in the arrays, from 1), value; no row for a user who is missing or not active.
--   Best first: found in the name, then in the device type, then in the intended use.
-- Reads: projects, users, project_members.
SELECT k.position AS id,
       json_build_object('items', found.items, 'limit', k.size) AS value
  FROM unnest(CAST(:user_ids AS bigint[]), CAST(:patterns AS text[]), CAST(:limits AS int[]))
       WITH ORDINALITY AS k(user_id, pattern, size, position)
  JOIN users u ON u.id = k.user_id AND u.active
 CROSS JOIN LATERAL (
      SELECT coalesce(json_agg(json_build_object(
                 'id', p.id,
                 'name', p.name,
                 'status', p.status,
                 'device_type', p.device_type,
                 'excerpt', left(p.intended_use, 160),
                 'found_in', CASE p.place WHEN 0 THEN 'name' WHEN 1 THEN 'device_type' ELSE 'intended_use' END,
                 'role', CASE WHEN p.owner_id = k.user_id THEN 'owner' ELSE m.role END,
                 'owner', json_build_object('id', o.id, 'name', o.name),
                 'updated_at', to_char(p.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                 'revision', p.revision
             ) ORDER BY p.place, p.updated_at DESC, p.id DESC), '[]') AS items
        FROM (SELECT q.*,
                     CASE WHEN q.name ILIKE k.pattern THEN 0
                          WHEN q.device_type ILIKE k.pattern THEN 1
                          ELSE 2 END AS place
                FROM (SELECT project_id AS id FROM project_members WHERE user_id = k.user_id
                       UNION
                      SELECT id FROM projects WHERE owner_id = k.user_id) visible
                     -- OFFSET 0 keeps the search out: no plan may try it on projects that nobody asked for.
               CROSS JOIN LATERAL (SELECT id, owner_id, name, status, device_type, intended_use, updated_at, revision
                                     FROM projects WHERE id = visible.id OFFSET 0) q
               WHERE q.name ILIKE k.pattern
                  OR q.device_type ILIKE k.pattern
                  OR q.intended_use ILIKE k.pattern
               ORDER BY place, q.updated_at DESC, q.id DESC
               LIMIT k.size) p
        JOIN users o ON o.id = p.owner_id
        LEFT JOIN project_members m ON m.project_id = p.id AND m.user_id = k.user_id
  ) found
