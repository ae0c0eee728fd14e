-- All that a project contains, for a file.
-- Arguments: ids bigint[], projects.
-- Result: id, value. The whole of it, except that of the interactions only the 500 newest are listed.
-- Reads: every table except project_members.
SELECT p.id,
       json_build_object(
           'project', json_build_object(
               'id', p.id,
               'name', p.name,
               'status', p.status,
               'device_type', p.device_type,
               'intended_use', p.intended_use,
               'owner', json_build_object('id', o.id, 'name', o.name),
               'created_at', to_char(p.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'updated_at', to_char(p.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
           ),
           'revision', greatest(p.revision, p.contents_revision),
           'classifications', (
               SELECT coalesce(json_agg(json_build_object(
                          'id', c.id,
                          'device_class', c.device_class,
                          'product_code', c.product_code,
                          'regulation_number', c.regulation_number,
                          'confidence', c.confidence,
                          'created_at', to_char(c.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                      ) ORDER BY c.created_at DESC, c.id DESC), '[]')
                 FROM device_classifications c
                WHERE c.project_id = p.id
           ),
           'predicates', (
               SELECT coalesce(json_agg(json_build_object(
                          'id', d.id,
                          'k_number', d.k_number,
                          'device_name', d.device_name,
                          'similarity', d.similarity,
                          'selected', d.selected
                      ) ORDER BY d.selected DESC, d.similarity DESC, d.id), '[]')
                 FROM predicate_devices d
                WHERE d.project_id = p.id
           ),
           'documents', (
               SELECT coalesce(json_agg(json_build_object(
                          'id', f.id,
                          'user_id', f.user_id,
                          'title', f.title,
                          'kind', f.kind,
                          'size_bytes', f.size_bytes,
                          'created_at', to_char(f.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                      ) ORDER BY f.created_at DESC, f.id DESC), '[]')
                 FROM project_documents f
                WHERE f.project_id = p.id
           ),
           'interactions_total', (SELECT count(*) FROM agent_interactions i WHERE i.project_id = p.id),
           'interactions', (
               SELECT coalesce(json_agg(json_build_object(
                          'id', i.id,
                          'user_id', i.user_id,
                          'agent', i.agent,
                          'summary', i.summary,
                          'created_at', to_char(i.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                      ) ORDER BY i.created_at DESC, i.id DESC), '[]')
                 FROM (SELECT *
                         FROM agent_interactions
                        WHERE project_id = p.id
                        ORDER BY created_at DESC, id DESC
                        LIMIT 500) i
           )
       ) AS value
  FROM projects p
  JOIN users o ON o.id = p.owner_id
 WHERE p.id = ANY(CAST(:ids AS bigint[]))
