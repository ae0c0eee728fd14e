-- Figures over all projects that a user can see.
-- Arguments: ids bigint[], users.
-- Result: id, value; no row for a user who is missing or not active.
-- Reads: projects, users, project_members.
SELECT u.id,
       json_build_object(
           'projects', count(p.id),
           'by_status', json_build_object(
               'draft', count(*) FILTER (WHERE p.status = 'draft'),
               'in_progress', count(*) FILTER (WHERE p.status = 'in_progress'),
               'completed', count(*) FILTER (WHERE p.status = 'completed')
           ),
           'by_role', json_build_object(
               'owner', count(*) FILTER (WHERE p.role = 'owner'),
               'editor', count(*) FILTER (WHERE p.role = 'editor'),
               'viewer', count(*) FILTER (WHERE p.role = 'viewer')
           ),
           'device_types', count(DISTINCT p.device_type),
           'last_updated_at', to_char(max(p.updated_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'revision', coalesce(max(p.revision), 0)
       ) AS value
  FROM users u
  LEFT JOIN LATERAL (
      SELECT q.id, q.status, q.device_type, q.updated_at, q.revision,
             CASE WHEN q.owner_id = u.id THEN 'owner' ELSE m.role END AS role
        FROM projects q
        LEFT JOIN project_members m ON m.project_id = q.id AND m.user_id = u.id
       WHERE q.id IN (SELECT project_id FROM project_members WHERE user_id = u.id
                       UNION ALL
                      SELECT id FROM projects WHERE owner_id = u.id)
  ) p ON true
 WHERE u.id = ANY(CAST(:ids AS bigint[]))
   AND u.active
 GROUP BY u.id
