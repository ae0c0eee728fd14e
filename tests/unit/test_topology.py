"""URLs of several servers, taken apart."""

from __future__ import annotations

import pytest

from stoker.redis.slots import slot_of
from stoker.settings import load_settings
from stoker.settings.topology import Sentinels, beside, is_cluster, nodes


def test_a_cluster_is_taken_apart_into_its_nodes() -> None:
    url = "rediss://me:p%2Cw@a:6379,[::1]:6380/?ssl_ca_certs=ca.pem&cluster=true"
    assert is_cluster(url)
    assert nodes(url) == [
        "rediss://me:p%2Cw@a:6379/?ssl_ca_certs=ca.pem",
        "rediss://me:p%2Cw@[::1]:6380/?ssl_ca_certs=ca.pem",
    ]
    assert beside(nodes(url)[0], "10.0.0.7", 7000) == "rediss://me:p%2Cw@10.0.0.7:7000/?ssl_ca_certs=ca.pem"
    assert beside(nodes(url)[0], "::2", 7000) == "rediss://me:p%2Cw@[::2]:7000/?ssl_ca_certs=ca.pem"


def test_sentinels_have_passwords_and_tls_of_their_own() -> None:
    found = Sentinels.of(
        "rediss+sentinel://me:pw@s1,s2:26380/main/3?sentinel_username=se&sentinel_password=a%40b&ssl_ca_certs=c"
    )
    assert found.name == "main"
    assert found.primary == "rediss://me:pw@localhost/3?ssl_ca_certs=c"
    assert found.urls == [
        "rediss://se:a%40b@s1:26379/0?ssl_ca_certs=c",
        "rediss://se:a%40b@s2:26380/0?ssl_ca_certs=c",
    ]
    other = Sentinels.of("redis+sentinel://s1/main?sentinel_tls=true&ssl_ca_certs=c")
    assert (other.urls, other.primary) == (
        ["rediss://s1:26379/0?ssl_ca_certs=c"],
        "redis://localhost/0?",
    )
    plain = Sentinels.of("rediss+sentinel://s1/main?sentinel_tls=false&ssl_ca_certs=c")
    assert (plain.urls, plain.primary) == (
        ["redis://s1:26379/0?"],
        "rediss://localhost/0?ssl_ca_certs=c",
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://a:6379,b:6379/?cluster=true",
        "rediss://u:p@a,b?cluster=true&ssl_cert_reqs=none",
        "redis+sentinel://s1:26379,s2:26379/mymaster/0",
        "rediss+sentinel://u:p@s1/mymaster?sentinel_password=x&ssl_ca_certs=ca.pem",
    ],
)
def test_urls_of_several_servers_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CACHE_REDIS_URL", url)
    taken = load_settings().cache_redis_url
    assert taken is not None
    assert taken.get_secret_value() == url


def test_all_keys_of_a_scope_have_one_slot() -> None:
    slots = {
        slot_of(f"stoker.i:{{project:42}}:{rest}") for rest in ("stamp:hard", "stamp:access", "dashboard")
    }
    assert len(slots) == 1
    assert slot_of("{user1000}.following") == 3443  # of the cluster specification's own example
