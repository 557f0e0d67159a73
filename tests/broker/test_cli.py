"""The command line, run as its users run it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus_broker.auth import users
from terminal import terminal

BROKEN = """cluster {
  name = cluster-us-east
  links = [
    { server = "eu-west"
      name = cluster-eu-west
      topics = ["a/b",
        "a/#/b"] }
  ]
}
"""


def run(
    *arguments: str, stdin: str = "", cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isthmus_broker", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **env},
    )


def test_check_tells_every_mistake_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "broken.conf").write_text(BROKEN)
    done = run("check", "broken.conf", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        'broken.conf:4  cluster.links[0].server: "eu-west": expected host:port, '
        "mqtt://host[:port] or mqtts://host[:port]",
        'broken.conf:7  cluster.links[0].topics[1]: "a/#/b" is not a topic filter: '
        "# must be the last level",
        "2 mistakes, nothing started",
    ]


def test_check_also_reads_what_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("alice:secret\n")
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "a.conf").write_text(
        'authentication = [{mechanism = password_based, file = "users"}]\n'
        'listeners.ssl.x { bind = 1, ssl_options { certfile = "cert.pem", keyfile = "cert.pem" } }'
    )
    done = run("check", "a.conf", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path / 'users'}:1  expected an argon2" in done.stdout
    assert "listeners.ssl.x.ssl_options.certfile:" in done.stdout


def test_check_shows_warnings(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("listeners.tcp.x.bind = 11883")
    done = run("check", "a.conf", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: a.conf:1  listeners.tcp.x: whoever reaches" in done.stdout
    assert "a.conf: no mistakes; cluster isthmus" in done.stdout
    assert run("check", "--strict", "a.conf", cwd=tmp_path).returncode == 1


def test_run_refuses_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "broken.conf").write_text(BROKEN)
    done = run("run", "--config", "broken.conf", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 mistakes, nothing started" in done.stderr


def test_passwd(tmp_path: Path) -> None:
    file = tmp_path / "users"
    assert run("passwd", str(file), "alice", "--stdin", stdin="one\n").returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "password").write_text("two\n")
    done = run("passwd", str(file), "bob", "--password-file", str(tmp_path / "password"))
    assert 'user "bob" added' in done.stdout
    known = users.load(file)
    assert known.verify("alice", b"one")
    assert known.verify("bob", b"two")
    done = run("passwd", str(file), "alice", "--stdin", stdin="three")
    assert 'user "alice" changed' in done.stdout
    assert users.load(file).verify("alice", b"three")
    assert 'user "alice" removed' in run("passwd", str(file), "alice", "--delete").stdout
    assert set(users.load(file).hashes) == {"bob"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "--delete"), 'there is no user "nobody"'),
        (("#x", "--stdin"), "a user name can't"),
        (("alice", "--stdin"), "the password is empty"),
        (("alice", "--password-file", "nope"), "nope: No such file or directory"),
    ],
)
def test_passwd_mistakes(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("passwd", "users", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "users").exists()


def test_passwd_leaves_another_kind_of_file_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("dear diary\n")
    assert run("passwd", "notes", "alice", "--stdin", stdin="x", cwd=tmp_path).returncode == 1
    assert (tmp_path / "notes").read_text() == "dear diary\n"


def test_help_teaches_on_one_screen() -> None:
    for arguments in ((), ("run",), ("check",), ("links",), ("passwd",)):
        done = run(*arguments, "--help", COLUMNS="80")
        assert done.returncode == 0
        assert "Examples:" in done.stdout or "First steps:" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert len(done.stdout.splitlines()) <= 24
    assert run("--version").stdout.startswith("isthmus-broker ")
    assert "complete" in run("--show-completion", SHELL="/bin/bash").stdout.lower()


# --- links --------------------------------------------------------------------------------------

ANSWERS = {
    "/api/v5/status": {"cluster": "cluster-us-east"},
    "/api/v5/cluster/links": [
        {
            "name": "cluster-eu-west",
            "status": "connecting",
            "node_status": [
                {
                    "incoming": {"state": "running", "routes": 1, "rate": 2.0, "lag": None},
                    "outgoing": {
                        "state": "connecting",
                        "reason": "refused",
                        "routes": 7,
                        "rate": 0.0,
                        "lag": 0.0123,
                    },
                }
            ],
        }
    ],
}


@contextlib.contextmanager
def answering(key: str = "") -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.headers.get("X-Isthmus-Key", "") == key
            body = ANSWERS[self.path] if good else {"code": "UNAUTHORIZED", "message": "no key"}
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_links_table() -> None:
    with answering() as url:
        lines = run("links", "--url", url).stdout.splitlines()
    assert lines[0].split() == ["LINK", "STATE", "ROUTES", "MSG/S", "LAG"]
    assert lines[1].split() == [
        "cluster-eu-west",
        "→",
        "cluster-us-east",
        "running",
        "1",
        "2.0",
        "-",
    ]
    assert lines[2].split()[3:] == ["connecting", "7", "0.0", "12", "ms"]
    assert lines[3:] == ["", "cluster-eu-west: refused"]


def test_links_json_and_key(tmp_path: Path) -> None:
    with answering("k3y") as url:
        done = run("links", "--url", url)
        assert done.returncode == 1
        assert "401: no key" in done.stderr
        done = run("links", "--url", url, "--json", ISTHMUS_API_KEY="k3y")
        assert json.loads(done.stdout) == ANSWERS["/api/v5/cluster/links"]
        (tmp_path / "key").write_text("k3y\n")
        assert run("links", "--url", url, "--key-file", str(tmp_path / "key")).returncode == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "file:///etc/passwd"])
def test_links_without_a_broker(url: str) -> None:
    done = run("links", "--url", url)
    assert done.returncode == 1
    assert url in done.stderr
    assert ("api.bind" in done.stderr) == url.startswith("http:")


def test_links_of_a_broker_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, "/api/v5/cluster/links", [])
    with answering() as url:
        assert "cluster-us-east has no links" in run("links", "--url", url).stdout


def test_a_proxy_is_not_asked_for_this_machine() -> None:
    with answering() as url:
        assert run("links", "--url", url, http_proxy="http://127.0.0.1:1").returncode == 0


def test_watch_shows_the_links_again_also_without_a_terminal() -> None:
    command = [sys.executable, "-m", "isthmus_broker", "links", "--watch", "--url"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with answering() as url:
        watching = subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True, env=env)
        assert watching.stdout is not None
        with watching.stdout as said:
            for _ in range(2):
                assert any("connecting" in line for line in said)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0


def test_watch_waits_for_a_broker_that_goes_away() -> None:
    command = [sys.executable, "-m", "isthmus_broker", "links", "--watch", "--url"]
    with contextlib.ExitStack() as broker:
        url = broker.enter_context(answering())
        with terminal([*command, url], os.environ) as shown:
            shown.wait("connecting")
            broker.close()
            shown.wait("no answer now: Connection refused")
            shown.press("\x03")
            assert shown.end() == 0
