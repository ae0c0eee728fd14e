-- The expensive read: a project with all that its page sums up.
-- Arguments: ids bigint[], projects.
-- Result: id, value. The 20 best predicates (selected first), the 10 newest of interactions and documents.
-- Reads: every table except project_members.
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
           'revision', greatest(p.revision, p.contents_revision),
           'classification', classification.value,
           'predicates', best.predicates,
           'recent_activity', recent.activity,
           'statistics', json_build_object(
               'classifications', classifications.total,
               'predicates', predicates.total,
               'predicates_selected', predicates.selected,
               'best_similarity', predicates.best,
               'mean_similarity', predicates.mean,
               'documents', documents.total,
               'document_bytes', documents.bytes,
               'interactions', coalesce(interactions.total, 0),
               'interactions_by_agent', coalesce(interactions.by_agent, '{}')
           )
       ) AS value
  FROM projects p
  JOIN users o ON o.id = p.owner_id
  LEFT JOIN LATERAL (
      SELECT json_build_object(
                 'id', c.id,
                 'device_class', c.device_class,
                 'product_code', c.product_code,
                 'regulation_number', c.regulation_number,
                 'confidence', c.confidence,
                 'created_at', to_char(c.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
             ) AS value
        FROM device_classifications c
       WHERE c.project_id = p.id
       ORDER BY c.created_at DESC, c.id DESC
       LIMIT 1
  ) classification ON true
 CROSS JOIN LATERAL (
      SELECT count(*) AS total FROM device_classifications c WHERE c.project_id = p.id
  ) classifications
 CROSS JOIN LATERAL (
      SELECT coalesce(json_agg(json_build_object(
                 'id', d.id,
                 'k_number', d.k_number,
                 'device_name', d.device_name,
                 'similarity', d.similarity,
                 'selected', d.selected
             ) ORDER BY d.selected DESC, d.similarity DESC, d.id), '[]') AS predicates
        FROM (SELECT *
                FROM predicate_devices
               WHERE project_id = p.id
               ORDER BY selected DESC, similarity DESC, id
               LIMIT 20) d
  ) best
 CROSS JOIN LATERAL (
      SELECT count(*) AS total,
             count(*) FILTER (WHERE d.selected) AS selected,
             max(d.similarity) AS best,
             round(avg(d.similarity), 3) AS mean
        FROM predicate_devices d
       WHERE d.project_id = p.id
  ) predicates
 CROSS JOIN LATERAL (
      SELECT coalesce(json_agg(json_build_object(
                 'type', a.type,
                 'id', a.id,
                 'user_id', a.user_id,
                 'label', a.label,
                 'text', a.text,
                 'at', to_char(a.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
             ) ORDER BY a.created_at DESC, a.type, a.id DESC), '[]') AS activity
        FROM (SELECT *
                FROM ((SELECT 'interaction' AS type, id, user_id, agent AS label, summary AS text, created_at
                         FROM agent_interactions
                        WHERE project_id = p.id
                        ORDER BY created_at DESC, id DESC
                        LIMIT 10)
                      UNION ALL
                      (SELECT 'document', id, user_id, kind, title, created_at
                         FROM project_documents
                        WHERE project_id = p.id
                        ORDER BY created_at DESC, id DESC
                        LIMIT 10)) newest
               ORDER BY created_at DESC, type, id DESC
               LIMIT 10) a
  ) recent
 CROSS JOIN LATERAL (
      SELECT count(*) AS total, coalesce(sum(f.size_bytes), 0) AS bytes
        FROM project_documents f
       WHERE f.project_id = p.id
  ) documents
 CROSS JOIN LATERAL (
      SELECT sum(n.total) AS total, json_object_agg(n.agent, n.total ORDER BY n.agent) AS by_agent
        FROM (SELECT i.agent, count(*) AS total
                FROM agent_interactions i
               WHERE i.project_id = p.id
               GROUP BY i.agent) n
  ) interactions
 WHERE p.id = ANY(CAST(:ids AS bigint[]))
