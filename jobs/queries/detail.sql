-- The project's own row and its owner's name.
-- Arguments: ids bigint[], projects.
-- Result: id, value.
-- Reads: projects, users.
SELECT p.id,
       json_build_object(
           'id', p.id,
           'name', p.name,
           'status', p.status,
           'device_type', p.device_type,
           'intended_use', p.intended_use,
           'owner', json_build_object('id', o.id, 'name', o.name),
           'created_at', to_char(p.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'updated_at', to_char(p.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'revision', p.revision
       ) AS value
  FROM projects p
  JOIN users o ON o.id = p.owner_id
 WHERE p.id = ANY(CAST(:ids AS bigint[]))
