"""The guestbook on real servers. `testing.apply` stands for the worker."""

import guestbook
import pytest

from stoker import testing


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    with testing.servers(folder, guestbook.domain) as settings, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
        patch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
        patch.setenv("CACHE_REDIS_URL", settings.cache_redis_url.get_secret_value())
        yield guestbook.app.test_client()
        guestbook.stoker.close()
        guestbook.engine().dispose()


def test_a_page_shows_who_signed(client):
    assert client.get("/books/1").json == []
    signed = client.post("/books/1", json={"name": "Ann", "words": "Lovely"})
    assert signed.json == {"state": "pending"}  # no worker runs
    assert guestbook.stoker.call(testing.apply) == 1

    page = client.get("/books/1")
    assert page.json == [{"name": "Ann", "words": "Lovely"}]
    again = client.get("/books/1", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["X-Cache"]) == (304, b"", "hit")
    assert client.head("/books/1").headers["Content-Length"] == page.headers["Content-Length"]


def test_a_book_that_cannot_be_is_refused(client):
    refused = client.get(f"/books/{2**70}")
    assert (refused.status_code, refused.json["field"]) == (422, "id")
