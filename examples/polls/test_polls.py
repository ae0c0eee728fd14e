"""The polls on real servers. `testing.apply` stands for the worker."""

import os

import django
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from stoker import StokerError, testing

os.environ["DJANGO_SETTINGS_MODULE"] = "polls.settings"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from polls.cached import domain, stoker  # noqa: PLC0415 - Django's settings need DATABASE_URL

    with testing.servers(tmp_path_factory.mktemp("servers"), domain) as settings:
        os.environ["DATABASE_URL"] = settings.database_url.get_secret_value()
        os.environ["REDIS_URL"] = settings.redis_url.get_secret_value()
        os.environ["CACHE_REDIS_URL"] = settings.cache_redis_url.get_secret_value()
        django.setup()
        call_command("migrate", verbosity=0)
        yield Client()
        connection.close()
        stoker.close()


@pytest.fixture
def poll(client):
    from polls.models import Poll  # noqa: PLC0415 - the same

    poll = Poll.objects.create(question="Tea?")
    for words in ("Yes", "No"):
        poll.choice_set.create(words=words)
    return poll


def votes(client, poll):
    return client.get(f"/polls/{poll.id}").json()["votes"]


def test_a_vote_is_seen_when_it_is_applied(client, poll):
    from polls.cached import stoker  # noqa: PLC0415 - the same

    assert votes(client, poll) == {"Yes": 0, "No": 0}
    answer = client.get(f"/polls/{poll.id}")
    assert answer["X-Cache"] == "hit"
    assert client.get(f"/polls/{poll.id}", headers={"If-None-Match": answer["ETag"]}).status_code == 304
    assert client.get("/polls/999").status_code == 404

    yes = poll.choice_set.get(words="Yes")
    assert client.post(f"/choices/{yes.id}/vote").json() == {"state": "pending"}
    assert stoker.call(testing.apply) == 1
    assert votes(client, poll) == {"Yes": 1, "No": 0}


def test_a_vote_that_is_rolled_back_was_never_recorded(client, poll):
    from polls.cached import Voted, stoker  # noqa: PLC0415 - the same

    with transaction.atomic():
        receipt = stoker.record_on(connection, Voted(poll_id=poll.id))
        transaction.set_rollback(True)
    assert receipt.applied() == "rolled_back"
    assert stoker.call(testing.apply) == 0


def test_the_worker_hears_of_a_commit_and_not_of_a_savepoint(client, poll):
    from polls.cached import Voted, stoker  # noqa: PLC0415 - the same

    with transaction.atomic():
        with transaction.atomic():
            receipt = stoker.record_on(connection, Voted(poll_id=poll.id))
        with pytest.raises(StokerError, match="has not committed"):
            _ = receipt.event_id
    assert receipt.event_id > 0
    assert stoker.call(testing.apply) == 1
    assert receipt.applied() == "applied"


def test_an_event_outside_a_transaction_is_refused(client, poll):
    from polls.cached import Voted, stoker  # noqa: PLC0415 - the same

    with pytest.raises(StokerError, match=r"record inside transaction\.atomic"):
        stoker.record_on(connection, Voted(poll_id=poll.id))
