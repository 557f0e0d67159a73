"""The configuration: the quick start's files, defaults, every mistake told with its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.settings import Bind, Server, Settings, load, parse_link
from isthmus_broker.settings import overlay as kept

QUICK_START = """
# Cluster Linking configuration
cluster {
  # This cluster's name
  name = "cluster-us-east"
  links = [
    { enable = true
      # Name of the second cluster
      upstream = "cluster-eu-west"
      # Endpoint of the second cluster's MQTT listener
      server = "emqx.us-east.myinfra.net:11883"
      clientid = "clink-us-east"
      topics = ["#"]
    }
  ]
}

# Dedicated listener for Cluster Linking connections
listeners {
  tcp.clink {
    enable = true
    bind = 11883
  }
}
"""
LINK = 'name = b, server = "h:1", topics = ["#"]'

Read = Callable[..., Settings]


@pytest.fixture(name="read")
def _read(tmp_path: Path) -> Read:
    def read(text: str, **env: str) -> Settings:
        path = tmp_path / "broker.conf"
        path.write_text(text)
        return load(path, env)

    return read


def mistakes(read: Read, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return [
        f"{it.line} {it.key}: {it.message}" if it.key else f"{it.line} {it.message}"
        for it in caught.value.mistakes
    ]


def test_quick_start_runs_as_it_stands(read: Read) -> None:
    settings = read(QUICK_START)
    (link,) = settings.cluster.links
    assert settings.cluster.name == "cluster-us-east"
    assert (link.name, link.clientid, link.topics) == ("cluster-eu-west", "clink-us-east", ("#",))
    assert link.server == Server("emqx.us-east.myinfra.net", 11883)
    assert (link.pool_size, link.max_inflight, link.tls) == (8, 32, False)
    opened = {name: str(it.bind) for name, it in settings.listeners.enabled().items()}
    assert opened == {"tcp:clink": "0.0.0.0:11883", "tcp:default": "127.0.0.1:1883"}


def test_quick_start_asymmetric(read: Read) -> None:
    assert read(QUICK_START.replace('["#"]', "[]")).cluster.links[0].topics == ()


def test_without_configuration_loopback_and_anonymous() -> None:
    settings = load(None, {})
    assert [str(it.bind) for it in settings.listeners.enabled().values()] == ["127.0.0.1:1883"]
    assert settings.anonymous
    (warning,) = settings.warnings
    assert "127.0.0.1 only" in warning


@pytest.mark.parametrize(
    ("text", "opened", "warned"),
    [
        ("", "127.0.0.1:1883", True),
        ("mqtt.allow_anonymous = true", "0.0.0.0:1883", False),
        (
            'authentication = [{mechanism = password_based, file = "users"}]',
            "0.0.0.0:1883",
            False,
        ),
        ("listeners.tcp.default.bind = 2883", "0.0.0.0:2883", False),
        ("listeners.tcp.default { bind = 1, enable = false }", None, False),
        ('listeners.tcp.main.bind = "127.0.0.1:1883"', "127.0.0.1:1883", False),
    ],
)
def test_which_default_listener_opens(
    read: Read, tmp_path: Path, text: str, opened: str | None, warned: bool
) -> None:
    (tmp_path / "users").write_text("")
    settings = read(text)
    binds = [str(it.bind) for it in settings.listeners.enabled().values()]
    assert binds == ([] if opened is None else [opened])
    assert any("opens on 127.0.0.1 only" in it for it in settings.warnings) == warned


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'cluster {\n links = [{name=x\n server = "eu-west", topics=[]}]}',
            '3 cluster.links[0].server: "eu-west": expected host:port, '
            "mqtt://host[:port] or mqtts://host[:port]",
        ),
        (
            'cluster.links = [{name=x, server="h:1"\ntopics=["a",\n"a/#/b"]}]',
            '3 cluster.links[0].topics[1]: "a/#/b" is not a topic filter: # must be the last level',
        ),
        (
            f"cluster.links = [{{{LINK}\n pool_sise = 5 }}]",
            '2 cluster.links[0].pool_sise: unknown key; did you mean "pool_size"?',
        ),
        ("mqtt.max_qos_allowed = 3", "1 mqtt.max_qos_allowed: 3: expected at most 2"),
        ("mqtt.retain_available = maybe", '"maybe": expected true or false'),
        ("mqtt.receive_maximum = x", '"x": expected a whole number'),
        ("mqtt.idle_timeout = 3q", "3q: expected a duration"),
        ("mqtt.idle_timeout = infinity", "not infinity"),
        ("mqtt.max_packet_size = 1XB", "1XB: expected a size in bytes"),
        ("mqtt = 5", "1 mqtt: 5: expected an object"),
        ("listeners.tcp.x.bind = 70000", "70000: expected a port"),
        ("listeners.tcp.x { bind = 1, max_conn_rate = 0/s }", "expected a rate such as"),
        ("listeners.ssl.x { bind = 1 }", "1 listeners.ssl.x.ssl_options: is missing"),
        ("listeners.ssl.x { bind = 1, ssl_options {} }", "needs a certificate"),
        ("listeners.tcp { a.bind = 1\n b.bind = 1 }", "2 listeners.tcp.b.bind: 0.0.0.0:1 is taken"),
        ('api.bind = "0.0.0.0:18083"', "there is no key"),
        ("api.api_key = short", "too short"),
        ("authentication = [{mechanism = magic}]", '1 authentication[0]: "magic": expected'),
        ("authentication = [{file = x}]", "mechanism is missing"),
        ('authentication = [{mechanism = password_based, file = "no"}]', "can't be read"),
        ('authorization.rules = [{permit = allow, topics = ["a/${x}"]}]', "no placeholder but"),
        ("authorization.rules = [{permit = allow, ipaddr = x}]", "an address or a network"),
        ("cluster.name = a/b", '"a/b": expected a name'),
        (f"cluster {{ name = b, links = [{{{LINK}}}] }}", '"b" is this cluster itself'),
        (f"cluster.links = [{{{LINK}}}\n{{{LINK}}}]", '2 cluster.links[1].name: "b" has another'),
        ("cluster.links = [{}]", "topics: is missing: expected a list"),
        (f"cluster.links = [{{{LINK}, upstream = c}}]", "expected one of them"),
        (f"cluster.links = [{{{LINK}, accept.usernames = [x]}}]", "nobody proves a user name"),
        ("dashboard = 1", "1 dashboard: unknown key; expected one of api,"),
        ("log.level = loud", 'expected "debug", "info", "warning" or "error"'),
    ],
)
def test_mistakes_are_told(read: Read, text: str, said: str) -> None:
    assert any(said in line for line in mistakes(read, text)), mistakes(read, text)


def test_every_mistake_is_told_in_the_order_of_lines(read: Read) -> None:
    told = mistakes(read, "mqtt.max_qos_allowed = 7\nlog.level = x\nfoo = 1\napi.enable = 3x")
    assert [line.split()[0] for line in told] == ["1", "2", "3", "4"]


def test_mistake_in_an_included_file_names_that_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("\nmqtt.max_qos_allowed = 9")
    with pytest.raises(ConfigurationError) as caught:
        read('include "more.conf"')
    (mistake,) = caught.value.mistakes
    assert (Path(mistake.file).name, mistake.line) == ("more.conf", 2)


def test_secrets_are_never_shown(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    text = f'cluster.links = [{{{LINK}, username = u, password = "file://secret"}}]'
    settings = read(text)
    (link,) = settings.cluster.links
    assert link.password is not None
    assert link.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + settings.model_dump_json()
    assert tmp_path / "secret" in settings.files
    wrong = f"cluster.links = [{{{LINK}, username = u, password = [hunter2]}}]"
    assert "hunter2" not in "".join(mistakes(read, wrong))


def test_a_changed_secret_file_is_a_change(read: Read, tmp_path: Path) -> None:
    text = f'cluster.links = [{{{LINK}, username = u, password = "file://secret"}}]'
    (tmp_path / "secret").write_text("one")
    first = read(text)
    (tmp_path / "secret").write_text("two")
    second = read(text)
    assert first.cluster != second.cluster
    assert first.content_hash != second.content_hash
    assert first.source_hash == second.source_hash


def test_environment(read: Read) -> None:
    text = "listeners.tcp.default.bind = ${?PORT}\nlisteners.tcp.default.enable = true"
    assert read(text, PORT="2883").listeners.tcp["default"].bind == Bind("0.0.0.0", 2883)


def test_hash_is_of_the_meaning_not_of_the_text(read: Read) -> None:
    one = read("mqtt { idle_timeout = 10s, max_packet_size = 1MB }")
    other = read("# other\nmqtt.max_packet_size = 1024KB\nmqtt.idle_timeout = 10000")
    assert one.content_hash == other.content_hash
    assert one.mqtt == other.mqtt
    assert one.source_hash != other.source_hash
    assert read("mqtt.idle_timeout = 11s").content_hash != one.content_hash


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("15s", 15), ("1m", 60), ("1h 30m", 5400), ("2d", 172800), ("1500", 1.5)],
)
def test_durations(read: Read, text: str, seconds: float) -> None:
    assert read(f'mqtt.idle_timeout = "{text}"').mqtt.idle_timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2048", 2048), ("1KB", 1024), ("1MB", 1 << 20), ("64MiB", 64 << 20), ("64Mi", 64 << 20)],
)
def test_sizes(read: Read, text: str, size: int) -> None:
    assert read(f"mqtt.max_mqueue_bytes = {text}").mqtt.max_mqueue_bytes == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("500/s", 500), ("60/m", 1), ("100/10s", 10), ("7", 7), ("infinity", math.inf)],
)
def test_rates(read: Read, text: str, rate: float) -> None:
    listener = read(f'listeners.tcp.default {{ bind = 1, messages_rate = "{text}" }}')
    assert listener.listeners.tcp["default"].messages_rate == rate


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("h:1", Server("h", 1)),
        ("mqtt://h", Server("h", 1883, tls=False)),
        ("mqtts://h/", Server("h", 8883, tls=True)),
        ("[::1]:11883", Server("::1", 11883)),
        ("mqtt://[2001:db8::1]", Server("2001:db8::1", 1883, tls=False)),
    ],
)
def test_servers(text: str, server: Server) -> None:
    link = parse_link({"name": "b", "server": text, "topics": []}, Path())
    assert link.server == server
    again = parse_link(link.model_dump(mode="json", exclude_none=True), Path())
    assert again == link


@pytest.mark.parametrize(
    "text", ["h", "h:", ":1", "h:0", "h:99999", "http://h", "a b:1", "[::x]:1"]
)
def test_servers_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected host:port"):
        parse_link({"name": "b", "server": text, "topics": []}, Path())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('cluster {name=a, links=[{name=b,server="h:1",topics=["a/#","a/b"]}]}', "covered by"),
        ("mqtt.allow_anonymous = false", "no client can come in"),
        (QUICK_START, "also to speak for cluster-eu-west"),
        (f"cluster.links = [{{{LINK}}}]", "cluster.name: not set"),
        ('include "nope.conf"', "does not exist"),
        ("authentication = [{mechanism = client_certificate}]", "asks for certificates"),
    ],
)
def test_warnings(read: Read, text: str, said: str) -> None:
    assert any(said in warning for warning in read(text).warnings)


def test_emqx_keys_without_meaning_here_are_tolerated(read: Read) -> None:
    read(
        f'node {{ name = "n@h", cookie = "c" }}\ncluster.links=[{{{LINK}, resource_opts {{a=1}}}}]'
    )


class TestOverlay:
    """Links that the admin API has changed."""

    def test_it_wins_by_name_and_says_so(self, read: Read, tmp_path: Path) -> None:
        path = tmp_path / "broker.links.conf"
        kept.write(path, "b", {"name": "b", "server": "new:1", "topics": ["x/#"]})
        kept.write(path, "c", {"name": "c", "server": "c:1", "topics": []})
        text = f'cluster {{ name = a, links = [{{{LINK}}}, {{name=d,server="d:1",topics=[]}}] }}'
        settings = read(text)
        assert [(it.name, it.server.host) for it in settings.cluster.links] == [
            ("b", "new"),
            ("d", "d"),
            ("c", "c"),
        ]
        assert path in settings.files
        assert any('"b" is as the admin API has left it' in it for it in settings.warnings)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_removed_links_stay_removed(self, read: Read, tmp_path: Path) -> None:
        kept.write(tmp_path / "broker.links.conf", "b", None)
        assert read(f"cluster {{ name = a, links = [{{{LINK}}}] }}").cluster.links == ()
        kept.write(
            tmp_path / "broker.links.conf", "b", {"name": "b", "server": "x:1", "topics": []}
        )
        assert len(read(f"cluster {{ name = a, links = [{{{LINK}}}] }}").cluster.links) == 1

    def test_a_damaged_one_is_a_mistake(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "broker.links.conf").write_text("links = [")
        assert any('expected "]"' in line for line in mistakes(read, ""))
        (tmp_path / "broker.links.conf").write_text("foo = 1")
        assert any("links and removed only" in line for line in mistakes(read, ""))
