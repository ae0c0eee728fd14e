"""What is cached. The setting `domain` names this module; it needs nothing of Django."""

from sqlalchemy import text

from stoker import Access, Domain, Event, Invalidation, Rule, ScopeKind, SyncStoker, View

POLL = ScopeKind("poll")


async def load_results(session, keys):
    """The results of many polls in one statement."""
    found = await session.execute(
        text(
            "SELECT p.id, p.question, c.words, c.votes FROM polls_poll p"
            " LEFT JOIN polls_choice c ON c.poll_id = p.id WHERE p.id = ANY(:ids) ORDER BY c.id"
        ),
        {"ids": [key.scope.number for key in keys]},
    )
    results = {}
    for number, question, words, votes in found:
        result = results.setdefault(number, {"question": question, "votes": {}})
        if words is not None:
            result["votes"][words] = votes
    return {key: results[key.scope.number] for key in keys if key.scope.number in results}


RESULTS = View("results", POLL, load_results, access=Access.ANYONE)


class Voted(Event):
    kind = "polls.voted"
    poll_id: int


domain = Domain(
    name="polls",
    scopes=(POLL,),
    views=(RESULTS,),
    rules=(Rule(Voted, lambda event: [Invalidation(POLL.scope(event.poll_id), {RESULTS})]),),
)
stoker = SyncStoker(domain=domain)  # connects at its first call
