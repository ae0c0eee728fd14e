"""The mails: one for each comment, asked for in its transaction, and a reminder each working day.

They are written to a maildir: `mail`, or the folder that MAIL_DIR names. A real helpdesk has a mail server.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from mailbox import Maildir

from sqlalchemy import text

from stoker import Job, JobContext, Lane, RetryPolicy, Stoker

MAIL = Lane("mail", concurrency=4, rate_per_s=20)


class TellOfComment(Job):
    """Mail a comment to everybody else who works for the ticket's tenant."""

    kind = "comment.tell"
    lane = MAIL
    retry = RetryPolicy(attempts=8, first=timedelta(seconds=5), errors=(OSError,))
    comment_id: int


class Remind(Job):
    """Mail each agent how many tickets are open."""

    kind = "tickets.remind"
    lane = MAIL

    def coalesce_key(self) -> str:
        return self.kind


@asynccontextmanager
async def maildir(_: Stoker) -> AsyncIterator[Maildir]:
    yield Maildir(os.environ.get("MAIL_DIR", "mail"))


async def tell_of_comment(context: JobContext, job: TellOfComment) -> None:
    async with context.stoker.session() as session:
        rows = await session.execute(TOLD, {"comment_id": job.comment_id})
        mails = rows.all()  # none where the comment is gone
    for mail in mails:
        await send(context, mail.name, f"[{mail.ticket_id}] {mail.title}", f"{mail.author}: {mail.body}")


async def remind(context: JobContext, _: Remind) -> None:
    async with context.stoker.session() as session:
        agents = (await session.execute(REMINDED)).all()
    for agent in agents:
        await send(context, agent.name, f"{agent.open} open tickets", "")


async def send(context: JobContext, name: str, subject: str, body: str) -> None:
    message = EmailMessage()
    message["To"], message["Subject"] = f"{name.lower()}@helpdesk.example", subject
    # A job may begin twice, if its worker is killed. Who receives the mail knows it again.
    message["Message-ID"] = f"<{context.job_id}.{name.lower()}@helpdesk.example>"
    message.set_content(body)
    await asyncio.to_thread(context.resources.add, message)


HANDLERS = {TellOfComment: tell_of_comment, Remind: remind}
TOLD = text("""
SELECT told.name, author.name AS author, comments.body, tickets.id AS ticket_id, tickets.title
  FROM comments
  JOIN tickets ON tickets.id = comments.ticket_id
  JOIN agents AS author ON author.id = comments.agent_id
  JOIN tenant_agents ON tenant_agents.tenant_id = tickets.tenant_id
  JOIN agents AS told ON told.id = tenant_agents.agent_id
 WHERE comments.id = :comment_id AND told.id <> author.id
 ORDER BY told.id
""")
REMINDED = text("""
SELECT agents.name, count(*) AS open
  FROM agents JOIN tenant_agents ON tenant_agents.agent_id = agents.id
  JOIN tickets ON tickets.tenant_id = tenant_agents.tenant_id
 WHERE tickets.status = 'open'
 GROUP BY agents.id ORDER BY agents.id
""")
