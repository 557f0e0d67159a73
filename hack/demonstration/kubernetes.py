"""`python -m demonstration.kubernetes [--check]`: what `hack/demo_kubernetes` ends with.

Everything is done as a user would: kubectl, helm, mosquitto's clients. The clusters are those of
the package `clusters`. Exits with 0 where everything was seen, 1 where not, 3 where the machine
lacks something.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from clusters import Cluster, ClustersError, Failed, commands, machine, programs, temporary, up
from clusters import images as our_images
from clusters.cluster import side_by_side
from clusters.reporting import ticking
from demonstration import crossing, view
from demonstration.crossing import Address
from demonstration.view import Step
from demonstration.waiting import NotSeen

US: Final = "us-east"
EU: Final = "eu-west"
ROOT: Final = Path(__file__).parents[2]
RESOURCES: Final = ROOT / "hack" / "demo-config" / "kubernetes.yaml"
SYSTEM: Final = "isthmus"
"""The operator's namespace."""
NAMESPACE: Final = "mqtt"
"""Namespace of the brokers, in both Kubernetes clusters."""
LINK: Final = "clink/atlantic"
_IMAGES: Final = ("localhost/isthmus-broker:dev", "localhost/isthmus-operator:dev")
_REMOTE: Final = "isthmus-remote"
"""ServiceAccount of docs/remote-access.yaml."""
_TOKEN: Final = 30 * 24 * 3600
"""Seconds for which its token is good: longer than a demo stays."""
_STARTED: Final = 240
"""Seconds in which pods are started and linked, on a busy machine, too."""
_ADDRESS: Final = 60.0
_AGAIN: Final = 0.5


class Demo:
    """One run on two clusters."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clusters: Mapping[str, Cluster] = {}

    # -- steps -----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Have the programs and images; what has to be made first tells its progress itself."""
        with self._step("Kubernetes' programs", progress=False):
            machine.ensure({**machine.FULL, **machine.IMAGES})
            programs.ensure([*programs.FULL, "helm"])
        with self._step("images of broker and operator", progress=False):
            for image in _IMAGES:
                our_images.archive_of(image)

    def set_up(self, bring_up: Callable[[], Mapping[str, Cluster]]) -> None:
        """Bring the clusters up, with our images."""
        with self._step("Kubernetes clusters us-east and eu-west"):
            self._clusters = bring_up()
        for name, cluster in self._clusters.items():
            self.tell(Step(f"{name}   API server {cluster.server}", mark="more"))
        with self._step("images loaded onto both nodes"):
            side_by_side(lambda name: self._clusters[name].load(*_IMAGES), [US, EU])

    def install(self) -> None:
        """Install the operator in us-east, and let it into one namespace of eu-west."""
        with self._step(f"operator installed in us-east: helm install {SYSTEM}"):
            self._helm()
        with self._step(
            f"namespace {NAMESPACE} in both, eu-west's kubeconfig as a Secret in us-east"
        ):
            self._let_in()

    def link(self) -> None:
        """Apply the resources and wait until the link is ready."""
        with self._step(f"kubectl apply -f {RESOURCES.relative_to(ROOT)}"):
            self._kubectl("apply", "-f", str(RESOURCES))
        self.show(RESOURCES.read_text())
        with self._step(f"kubectl wait --for=condition=Ready {LINK}"):
            waiting = ("wait", "--for=condition=Ready", LINK, f"--timeout={_STARTED}s")
            self._kubectl(*waiting, seconds=_STARTED + 30)

    def talk(self) -> dict[str, Address]:
        """Send a message each way; returns where clients reach the brokers."""
        with self._step("addresses of the load balancers"):
            found = {name: self._address(name) for name in (US, EU)}
        for sender, receiver, topic, text in (
            (EU, US, "linked/42", "Hello from the other side!"),
            (US, EU, "linked/1", "Hello from US!"),
        ):
            with self._step(f'{sender}  published  {topic:<9}  "{text}"'):
                crossing.cross(found[sender], found[receiver], topic, text)
            self.tell(Step(f'{receiver}  received   {topic:<9}  "{text}"', mark="more"))
        self.show(f"$ kubectl get clink -n {NAMESPACE}\n{self._kubectl('get', 'clink')}")
        return found

    def hint(self, addresses: Mapping[str, Address]) -> None:
        """Tell what to type next."""
        us, eu = addresses[US], addresses[EU]
        tools = programs.place(programs.TOOLS)
        admin = self._clusters[US].kubeconfig
        self._console.print(" Try it yourself, as root:")
        self.show(
            f"export KUBECONFIG={shlex.quote(str(admin))} PATH=$PATH:{shlex.quote(str(tools))}\n"
            f"kubectl describe -n {NAMESPACE} {LINK}\n"
            f"kubectl edit -n {NAMESPACE} {LINK}      # such as topics: [] of one end\n"
            f"mosquitto_sub -h {us.host} -p {us.port} -t 'linked/#' -v\n"
            f"mosquitto_pub -h {eu.host} -p {eu.port} -t linked/42 -m hello    # elsewhere\n"
            "./hack/kube down      # ends both Kubernetes clusters"
        )

    def explain(self) -> None:
        """After a failure: what resources, pods and the operator say."""
        system = ("-n", SYSTEM)
        for title, cluster, asked in (
            ("resources", US, ("get", "isthmus", "-o", "wide")),
            ("pods in us-east", US, ("get", "pods", "-A")),
            ("pods in eu-west", EU, ("get", "pods", "-A")),
            ("the operator", US, (*system, "logs", f"deployment/{SYSTEM}-operator", "--tail=20")),
        ):
            if cluster not in self._clusters:
                return
            try:
                said = self._kubectl(*asked, on=cluster, seconds=20)
            except ClustersError as error:
                said = str(error)
            self._console.print(f" {title}:")
            self.show(said)

    # -- parts -----------------------------------------------------------------------------------

    def _helm(self) -> None:
        repository, tag = _IMAGES[1].split(":")
        settings = {
            "image.repository": repository,
            "image.tag": tag,
            "brokerImage": _IMAGES[0],
        }
        commands.run(
            [
                programs.path("helm"),
                f"--kubeconfig={self._clusters[US].kubeconfig}",
                *("upgrade", "--install", SYSTEM, ROOT / "charts" / "isthmus-operator"),
                *("--namespace", SYSTEM, "--create-namespace", "--wait"),
                f"--timeout={_STARTED}s",
                *(f"--set={name}={value}" for name, value in settings.items()),
            ],
            seconds=_STARTED + 60,
        )

    def _let_in(self) -> None:
        dry = ("--dry-run=client", "-o", "yaml")
        for name in self._clusters:
            made = self._kubectl("create", "namespace", NAMESPACE, *dry, on=name)
            self._kubectl("apply", "-f", "-", on=name, stdin=made)
        self._kubectl("apply", "-f", str(ROOT / "docs" / "remote-access.yaml"), on=EU)
        file = self._clusters[EU].service_account_kubeconfig(NAMESPACE, _REMOTE, _TOKEN)
        secret = ("create", "secret", "generic", EU, f"--from-file=kubeconfig={file}")
        self._kubectl("apply", "-f", "-", stdin=self._kubectl(*secret, *dry))

    def _address(self, on: str) -> Address:
        fields = "{.status.loadBalancer.ingress[0].ip} {.spec.ports[0].port}"
        asked = ("get", "service", f"cluster-{on}", "-o", f"jsonpath={fields}")
        deadline = time.monotonic() + _ADDRESS
        while time.monotonic() < deadline:
            match self._kubectl(*asked, on=on).split():
                case [host, port]:
                    return Address(host, int(port))
            time.sleep(_AGAIN)
        raise Failed(f"Service cluster-{on} in {on} has no address after {_ADDRESS:.0f} s.")

    def _kubectl(
        self, *arguments: str, on: str = US, stdin: str | None = None, seconds: float = 60
    ) -> str:
        words = ("-n", NAMESPACE, *arguments)
        return self._clusters[on].kubectl(*words, stdin=stdin, seconds=seconds)

    # -- what is seen ----------------------------------------------------------------------------

    @contextmanager
    def _step(self, text: str, *, progress: bool = True) -> Iterator[None]:
        begun = time.monotonic()
        if progress:
            with ticking(text):
                yield
        else:
            yield
        self.tell(Step(text, time.monotonic() - begun))

    def tell(self, step: Step) -> None:
        """Show a step."""
        self._console.print(view.step(step), soft_wrap=True)

    def show(self, text: str) -> None:
        """Show what a program or a file says, set off."""
        lines = "".join(f"   {line}".rstrip() + "\n" for line in text.rstrip().splitlines())
        self._console.print(f"\n{lines}", soft_wrap=True)


def _show(demo: Demo, bring_up: Callable[[], Mapping[str, Cluster]]) -> dict[str, Address]:
    demo.prepare()
    demo.set_up(bring_up)
    try:
        demo.install()
        demo.link()
        return demo.talk()
    except (ClustersError, NotSeen):
        demo.explain()
        raise


def _stay(demo: Demo) -> None:
    try:
        demo.hint(_show(demo, lambda: up([US, EU])))
    except (ClustersError, NotSeen, KeyboardInterrupt):
        demo.tell(
            Step(
                f"what is up stays, to be looked at; ./hack/kube down {US} {EU} ends it",
                mark="note",
            )
        )
        raise


def _check(demo: Demo) -> None:
    """All of it, on clusters that nobody else has: a demo that stays is left alone."""
    begun = time.monotonic()
    with ExitStack() as stack:
        _show(demo, lambda: stack.enter_context(temporary([US, EU])))
    demo.tell(Step("all of it was seen, nothing is left running", time.monotonic() - begun))


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)  # by way of whatever takes clusters down


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(add_help=False)  # hack/demo_kubernetes has help
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    machine.extend_path()
    demo = Demo(Console(highlight=False, markup=False, emoji=False))
    try:
        (_check if check else _stay)(demo)
    except (ClustersError, NotSeen) as error:
        demo.tell(Step(str(error), mark="failed"))
        return error.status if isinstance(error, ClustersError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
