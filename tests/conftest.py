"""What all tests share: brokers as processes, raw clients, certificates. See `tests/support`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

from brokers import Broker, Brokers
from certificates import Pki
from isthmus_broker.mqtt.codes import V5
from linked import People
from rawmqtt import RawClient

_LOG_SHOWN = 20_000
_BROKERS = pytest.StashKey[Brokers]()

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("isthmus", deadline=None)
settings.load_profile("isthmus")

StartBroker = Callable[..., Broker]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The tests' certificate authority."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def start_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Pki
) -> Iterator[Brokers]:
    """Call it to start a broker (`Brokers.__call__`); each is stopped and its log looked at."""
    brokers = Brokers(tmp_path_factory.mktemp("brokers"), pki)
    request.node.stash[_BROKERS] = brokers
    yield brokers
    brokers.close()


@pytest.fixture(scope="module")
def module_brokers(
    tmp_path_factory: pytest.TempPathFactory, pki: Pki, request: pytest.FixtureRequest
) -> Iterator[Brokers]:
    """As `start_broker`, for brokers that the tests of a module share."""
    brokers = Brokers(tmp_path_factory.mktemp("brokers"), pki)
    request.node.stash[_BROKERS] = brokers
    yield brokers
    brokers.close()


@pytest.fixture(scope="module")
def module_broker(module_brokers: Brokers, request: pytest.FixtureRequest) -> Broker:
    """One broker for a whole module, with the configuration `CONFIG` of the module, if any."""
    config = getattr(request.module, "CONFIG", "")
    kinds = getattr(request.module, "KINDS", ("tcp",))
    return module_brokers(config, kinds=kinds)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawClient]]:
    """Call it with a port (and a level) for a raw connection; closed after the test."""
    with contextlib.ExitStack() as opened:

        def connect(port: int, level: int = V5, **options: Any) -> RawClient:
            return opened.enter_context(RawClient(port, level, **options))

        yield connect


@pytest.fixture
def people() -> Iterator[People]:
    """Makes clients, and closes them after the test."""
    made = People()
    yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the brokers' logs with a test that has failed."""
    report = yield
    if report.failed:
        for node in (item, item.getparent(pytest.Module)):
            brokers = node.stash.get(_BROKERS, None) if node is not None else None
            for broker in brokers.all if brokers is not None else ():
                title = f"log of {broker.directory.name}"
                report.sections.append((title, broker.log()[-_LOG_SHOWN:]))
    return report
