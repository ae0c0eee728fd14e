-- Projects of users in the order in which they are worth building: users take turns, and each user's own
-- come in-progress first, then drafts, then completed, each the most recently updated first.
-- Arguments: user_ids bigint[]; most int, projects per user.
-- Result: id, each project once, at its earliest turn. No rows for users who are not active.
-- Reads: projects, users, project_members.
WITH visible AS (
    SELECT m.user_id, m.project_id
      FROM project_members m
     WHERE m.user_id = ANY(CAST(:user_ids AS bigint[]))
     UNION
    SELECT p.owner_id, p.id
      FROM projects p
     WHERE p.owner_id = ANY(CAST(:user_ids AS bigint[]))
), prioritised AS (
    SELECT v.user_id, p.id, p.updated_at,
           CASE p.status WHEN 'in_progress' THEN 0 WHEN 'draft' THEN 1 ELSE 2 END AS priority
      FROM visible v
      JOIN users u ON u.id = v.user_id AND u.active
      JOIN projects p ON p.id = v.project_id
), turns AS (
    SELECT id, priority, updated_at,
           row_number() OVER (PARTITION BY user_id ORDER BY priority, updated_at DESC, id DESC) AS turn
      FROM prioritised
)
SELECT id
  FROM turns
 WHERE turn <= CAST(:most AS int)
 GROUP BY id, priority, updated_at
 ORDER BY min(turn), priority, updated_at DESC, id DESC
