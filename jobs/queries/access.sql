-- Who may read each project, and as what.
-- Arguments: ids bigint[], projects.
-- Result: id, value {user id: role} of the active owner and members; no row for a project that is gone.
-- Reads: projects, users, project_members.
SELECT p.id,
       (SELECT coalesce(json_object_agg(r.user_id, r.role ORDER BY r.user_id), '{}')
          FROM (SELECT u.id AS user_id,
                       CASE WHEN u.id = p.owner_id THEN 'owner' ELSE m.role END AS role
                  FROM users u
                  LEFT JOIN project_members m ON m.project_id = p.id AND m.user_id = u.id
                 WHERE u.active
                   AND u.id IN (SELECT p.owner_id
                                 UNION ALL
                                SELECT n.user_id FROM project_members n WHERE n.project_id = p.id)) r
       ) AS value
  FROM projects p
 WHERE p.id = ANY(CAST(:ids AS bigint[]))
