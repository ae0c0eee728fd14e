-- Who is active: whoever wrote inside a project, or owns one whose own row changed, since a time.
-- Arguments: since timestamptz.
-- Result: id.
-- Reads: projects, users, project_documents, agent_interactions.
SELECT u.id
  FROM users u
 WHERE u.active
   AND u.id IN (SELECT user_id FROM agent_interactions WHERE created_at >= :since
                 UNION
                SELECT user_id FROM project_documents WHERE created_at >= :since
                 UNION
                SELECT owner_id FROM projects WHERE updated_at >= :since)
 ORDER BY u.id
