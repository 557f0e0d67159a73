"""Links over TLS with certificates, with user names, and against those who only claim to be one."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker, Brokers
from certificates import Certificate, Pki
from emqx import EmqxClient, message
from isthmus_broker.cli.passwd import change
from linked import (
    Link,
    People,
    call,
    cluster,
    link,
    told,
    wait_routes,
    wait_running,
    wait_settled,
    wait_state,
)
from waiting import wait_for

KINDS = ("tcp", "ssl")
ANONYMOUS = "mqtt.allow_anonymous = true\n"
NOT_ACCEPTED = "does it speak TLS there, and accept this side's certificate?"


def tls(pki: Pki, certificate: Certificate | None = None, **more: Any) -> dict[str, Any]:
    """`ssl` of a link."""
    found: dict[str, Any] = {"cacertfile": str(pki.ca), **more}
    if certificate is not None:
        found |= {"certfile": str(certificate.cert), "keyfile": str(certificate.key)}
    return {"ssl": found}


def mutual(pki: Pki) -> str:
    """A TLS listener that takes only clients with a certificate."""
    return f"""listeners.ssl.default.ssl_options {{
      certfile = "{pki.server.cert}", keyfile = "{pki.server.key}", cacertfile = "{pki.ca}"
      verify = verify_peer, fail_if_no_peer_cert = true }}
    """


def secured(name: str, broker: Broker, pki: Pki, own: str, **more: Any) -> Link:
    """A link over TLS, with a certificate for `own`, that accepts the other side's only."""
    return link(
        name,
        f"mqtts://localhost:{broker.ports['ssl']}",
        accept={"certificate_names": [f"link-{name}"]},
        **tls(pki, pki.client(f"link-{own}")),
        **more,
    )


def secured_pair(start: Brokers, pki: Pki, **more: Any) -> tuple[Broker, Broker]:
    us, eu = (start(name=name, kinds=KINDS, start=False) for name in ("us", "eu"))
    us.write(cluster("us", secured("eu", eu, pki, "us", **more), more=mutual(pki)))
    eu.write(cluster("eu", secured("us", us, pki, "eu", **more), more=mutual(pki)))
    us.start()
    eu.start()
    wait_running(us, "eu")
    wait_running(eu, "us")
    return us, eu


# -- certificates --------------------------------------------------------------------------------


def test_messages_cross_over_tls_with_certificates_on_both_sides(
    start_broker: Brokers, people: People, pki: Pki
) -> None:
    us, eu = secured_pair(start_broker, pki)
    here, there = people.subscriber(us, "to/us"), people.subscriber(eu, "to/eu")
    wait_routes(us, "eu", 1)
    wait_routes(eu, "us", 1)
    here.publish_acknowledged("to/eu", bytes(300_000))
    there.publish_acknowledged("to/us", b"and back")
    assert there.take().payload == bytes(300_000)
    assert here.take().payload == b"and back"


@pytest.fixture(scope="module")
def guarded(module_brokers: Brokers, pki: Pki) -> Broker:
    """Cluster eu, which accepts us by its certificate only, on its TLS listener."""
    eu = module_brokers(name="eu", kinds=KINDS, start=False)
    accepting = link("us", 1, pool_size=1, accept={"certificate_names": ["link-us"]})
    eu.write(cluster("eu", accepting, more=mutual(pki)))
    return eu.start()


@pytest.fixture(scope="module")
def caller(module_brokers: Brokers) -> Broker:
    """Cluster us, whose links to eu are as a test says."""
    return module_brokers(cluster("us"), name="us")


Attempt = Callable[..., dict[str, Any]]


@pytest.fixture
def attempt(caller: Broker) -> Iterator[Attempt]:
    """Call it with a server, a link's settings, and what is to be told of the attempt."""

    def try_it(server: str, state: str, reason: str, **settings: Any) -> dict[str, Any]:
        body = {"name": "eu", "server": server, "topics": ["#"], "pool_size": 1, **settings}
        status, answer = call(caller, "POST", "/cluster/links", body)
        assert status == 201, answer
        return wait_state(caller, "eu", state, reason)

    yield try_it
    call(caller, "DELETE", "/cluster/links/link/eu")


def test_another_authority_is_not_trusted(
    guarded: Broker, attempt: Attempt, pki: Pki, tmp_path: Path
) -> None:
    other = Pki(tmp_path, "Another CA")
    server = f"mqtts://localhost:{guarded.ports['ssl']}"
    attempt(server, "disconnected", "TLS: self-signed certificate in", **tls(other))


def test_a_certificate_of_another_authority_is_not_accepted(
    guarded: Broker, attempt: Attempt, pki: Pki, tmp_path: Path
) -> None:
    stranger = Pki(tmp_path, "Another CA").client("link-us")
    server = f"mqtts://localhost:{guarded.ports['ssl']}"
    attempt(server, "disconnected", NOT_ACCEPTED, **tls(pki, stranger))


def test_no_certificate_where_one_is_required(guarded: Broker, attempt: Attempt, pki: Pki) -> None:
    server = f"mqtts://localhost:{guarded.ports['ssl']}"
    attempt(server, "disconnected", NOT_ACCEPTED, **tls(pki))


def test_an_expired_certificate_is_not_accepted(
    guarded: Broker, attempt: Attempt, pki: Pki
) -> None:
    server = f"mqtts://localhost:{guarded.ports['ssl']}"
    expired = pki.issue("link-us", days=-1, file="expired")
    attempt(server, "disconnected", NOT_ACCEPTED, **tls(pki, expired))


def test_a_server_of_another_name_is_not_trusted(
    guarded: Broker, attempt: Attempt, pki: Pki
) -> None:
    server = f"mqtts://localhost:{guarded.ports['ssl']}"
    named = tls(pki, pki.client("link-us"), server_name_indication="other.example.net")
    attempt(server, "disconnected", "TLS: Hostname mismatch", **named)


def test_a_name_of_its_own_may_be_expected_of_a_server(
    guarded: Broker, attempt: Attempt, pki: Pki
) -> None:
    server = f"mqtts://127.0.0.1:{guarded.ports['ssl']}"
    named = tls(pki, pki.client("link-us"), server_name_indication="localhost")
    attempt(server, "connecting", '"eu" has not introduced itself', **named)


def test_a_tls_link_to_a_plain_listener_is_told(
    guarded: Broker, attempt: Attempt, pki: Pki
) -> None:
    server = f"mqtts://localhost:{guarded.ports['tcp']}"
    attempt(server, "disconnected", "does it speak TLS there", **tls(pki))


def test_a_plain_link_to_a_tls_listener_is_told(guarded: Broker, attempt: Attempt) -> None:
    attempt(
        f"mqtt://127.0.0.1:{guarded.ports['ssl']}",
        "disconnected",
        f"127.0.0.1:{guarded.ports['ssl']}: ",
    )


def test_a_trusted_certificate_of_somebody_else_does_not_make_a_link(
    guarded: Broker, attempt: Attempt, pki: Pki
) -> None:
    server = f"mqtts://localhost:{guarded.ports['ssl']}"
    reason = '"eu" does not accept this client as "us"'
    attempt(server, "inconsistent", reason, **tls(pki, pki.client("somebody")))


def test_another_listener_is_no_way_round_the_certificate(
    guarded: Broker, attempt: Attempt
) -> None:
    reason = '"eu" does not accept this client as "us"'
    attempt(f"127.0.0.1:{guarded.port}", "inconsistent", reason)


@pytest.mark.parametrize(
    "topic", ["$LINK/cluster/route/us", "$LINK/cluster/msg/us", "$LINK/cluster/msg/us/more"]
)
@pytest.mark.parametrize(
    "fields", [{}, {"username": "link-us"}, {"client_id": "us:msg:00000000:1"}]
)
def test_strangers_may_not_publish_to_the_links_topics(
    guarded: Broker, people: People, topic: str, fields: dict[str, str]
) -> None:
    there = people.subscriber(guarded, "#")
    one = people.client(guarded, **fields)  # type: ignore[arg-type]
    for qos in (1, 2):
        assert one.publish_acknowledged(topic, b"x", qos) == 0x87
    one.publish(topic, b"at QoS 0")
    one.expect_nothing()
    there.expect_nothing()
    assert one.subscribe("$LINK/cluster/resp/us/node").codes == [0x87]


def test_whoever_shows_the_certificate_speaks_for_its_link_alone(
    guarded: Broker, people: People, pki: Pki
) -> None:
    there = people.subscriber(guarded, "t")
    context = pki.context(pki.client("link-us"))
    with EmqxClient(guarded.ports["ssl"], "us", tls=context) as one:
        one.hello()
        assert one.forwarded(message("t", b"from us")) == 0
        assert there.take().payload == b"from us"
        one.name = "asia"
        assert one.forwarded(message("t", b"from asia, it says")) == 0x87
    there.expect_nothing()


# -- renewal -------------------------------------------------------------------------------------


def replace(old: Certificate, new: Certificate) -> None:
    """Put new files in place of old ones, each at once, as certificate managers do."""
    for source, target in ((new.cert, old.cert), (new.key, old.key)):
        copy = target.with_suffix(".new")
        shutil.copy(source, copy)
        copy.replace(target)


def serial(port: int, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as one,
    ):
        found = one.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def test_renewed_certificates_are_taken_up_and_no_message_is_lost(
    start_broker: Brokers, people: People, tmp_path: Path
) -> None:
    """Connections are made anew, one after another, once nothing is under way on them."""
    own = Pki(tmp_path / "pki")
    us, eu = secured_pair(start_broker, own, pool_size=2)
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    talker = people.talker(us, "t")
    talker.wait(50)
    replace(own.client("link-us"), own.issue("link-us", file="renewed"))
    us.wait_log("certificates of a link renewed")
    talker.wait(50)
    accepted = talker.stop()
    there.wait(len(accepted))
    wait_settled(us, "eu")
    assert there.payloads == accepted  # each once, in their order
    wait_running(us, "eu")
    wait_running(eu, "us")


def test_a_renewed_server_certificate_is_shown_to_new_connections(
    start_broker: Brokers, people: People, tmp_path: Path
) -> None:
    own = Pki(tmp_path / "pki")
    server = own.issue("localhost", hosts=("localhost",), file="server")
    broker = start_broker(
        f"""listeners.ssl.default.ssl_options {{
          certfile = "{server.cert}", keyfile = "{server.key}", cacertfile = "{own.ca}" }}""",
        kinds=("ssl",),
    )
    with EmqxClient(broker.port, "x", tls=own.context()) as stays:
        stays.hello()
        before = serial(broker.port, own.context())
        replace(server, own.issue("localhost", hosts=("localhost",), file="renewed"))
        wait_for(lambda: serial(broker.port, own.context()) != before, what="the new certificate")
        stays.expect_nothing()


def test_a_renewal_that_is_half_done_changes_nothing(
    start_broker: Brokers, people: People, tmp_path: Path
) -> None:
    """A certificate without its key: reported, and the link goes on."""
    own = Pki(tmp_path / "pki")
    us, _ = secured_pair(start_broker, own, pool_size=1)
    certificate = own.client("link-us")
    good = certificate.cert.read_bytes()
    shutil.copy(own.issue("link-us", file="renewed").cert, certificate.cert)
    us.hang_up()
    us.wait_log("configuration not taken up")
    assert "can't be used" in call(us, "GET", "/status")[1]["configuration"]["error"]
    assert told(us, "eu")["status"] == "running"
    certificate.cert.write_bytes(good)
    us.hang_up()
    wait_for(lambda: not call(us, "GET", "/status")[1]["configuration"]["error"])


# -- user names ----------------------------------------------------------------------------------


def with_users(directory: Path, **users: str) -> str:
    """Authentication by a password file."""
    for name, password in users.items():
        change(directory / "users", name, password.encode())
    return 'authentication = [{ mechanism = password_based, backend = file, file = "users" }]\n'


@pytest.fixture(scope="module")
def by_name(module_brokers: Brokers) -> Broker:
    """Cluster eu, which accepts us as the user `link-us`; anonymous clients come in, too."""
    eu = module_brokers(name="by-name", start=False)
    users = with_users(eu.directory, **{"link-us": "right horse", "alice": "another"})
    accepting = link("us", 1, pool_size=1, accept={"usernames": ["link-us"]})
    eu.write(cluster("eu", accepting, more=f"{users}mqtt.allow_anonymous = true\n"))
    return eu.start()


def test_a_link_logs_in_by_name_and_password(by_name: Broker, attempt: Attempt) -> None:
    reason = '"eu" has not introduced itself'
    login = {"username": "link-us", "password": "right horse"}
    found = attempt(f"127.0.0.1:{by_name.port}", "connecting", reason, **login)
    assert found["incoming"]["state"] == "running"
    assert found["password"] == "******"


def test_the_password_may_be_in_a_file(by_name: Broker, caller: Broker, attempt: Attempt) -> None:
    (caller.directory / "secret").write_text("right horse\n")
    reason = '"eu" has not introduced itself'
    login = {"username": "link-us", "password": "file://secret"}
    attempt(f"127.0.0.1:{by_name.port}", "connecting", reason, **login)


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ({"username": "link-us", "password": "wrong"}, "bad user name or password (0x86)"),
        ({"username": "nobody", "password": "x"}, "bad user name or password (0x86)"),
        ({"username": "alice", "password": "another"}, '"eu" does not accept this client as "us"'),
        ({}, '"eu" does not accept this client as "us"'),
    ],
)
def test_a_wrong_login_is_told(
    by_name: Broker, attempt: Attempt, login: dict[str, str], reason: str
) -> None:
    attempt(f"127.0.0.1:{by_name.port}", "inconsistent", reason, **login)


def test_passwords_are_in_no_log(by_name: Broker, caller: Broker) -> None:
    for text in ("right horse", "wrong"):
        assert text not in caller.log()
    assert "right horse" not in by_name.log()


def test_whoever_is_no_longer_accepted_is_cut_off(start_broker: Brokers, people: People) -> None:
    us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
    users = with_users(eu.directory, **{"link-us": "first", "link-us-2": "second"})

    def accepting(name: str) -> str:
        return cluster("eu", link("us", us, accept={"usernames": [name]}), more=users + ANONYMOUS)

    us.write(cluster("us", link("eu", eu, username="link-us", password="first")))
    eu.write(accepting("link-us"))
    us.start()
    eu.start()
    wait_running(us, "eu")
    wait_running(eu, "us")
    bystander = people.client(eu)
    eu.write(accepting("link-us-2"))
    eu.hang_up()
    wait_state(us, "eu", "inconsistent", '"eu" does not accept this client as "us"')
    bystander.expect_nothing()
    us.write(cluster("us", link("eu", eu, username="link-us-2", password="second")))
    us.hang_up()
    wait_running(us, "eu")
