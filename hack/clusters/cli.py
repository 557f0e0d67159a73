"""The command line, `./hack/kube`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Final

from clusters import cluster, controlplane, images, machine, programs, registry
from clusters.errors import ClustersError
from clusters.reporting import duration, say

_ABOUT: Final = """\
Real Kubernetes clusters on this machine, without Docker: for tests, the demo, and you.

  ./hack/kube up                            two clusters, us-east and eu-west, with a node each
  export KUBECONFIG=$(./hack/kube kubeconfig us-east)
  ./hack/kube down --all                    nothing of them is left
"""

_MORE: Final = """\
examples:
  ./hack/kube load broker                   our broker's image onto both nodes
  ./hack/kube up --control-plane a b        API servers without nodes: no root, no pods
  ./hack/kube stop a                        a's API server is gone; its data stays
  ./hack/kube start a                       and is back, on the same port
  export PATH=$PATH:$(./hack/kube tools)    kubectl and helm

A Service of type LoadBalancer gets an address that this machine and the other clusters reach.
Its annotation isthmus.test/no-address=true keeps it pending, isthmus.test/address=198.18.1.200
gives it another one. A name outside the cluster does not exist, and NetworkPolicies are not
enforced.

exit status: 0 done; 1 something did not come up; 2 asked for what makes no sense; 3 the machine
lacks something.

Programs are built from Go modules the first time (10 to 20 minutes on two cores, then never again)
and kept in ~/.cache/isthmus; each cluster has a folder in ~/.cache/isthmus/clusters.
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], None] = parsed.action
    machine.extend_path()
    try:
        action(parsed)
    except ClustersError as error:
        say(f"hack/kube: {error}")
        return error.status
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="./hack/kube", description=_ABOUT, epilog=_MORE, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[argparse.Namespace], None], about: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(action=action)
        return sub

    up = command("up", _up, "bring clusters up; those that are up stay as they are")
    up.add_argument("names", nargs="*", metavar="NAME", help="default: us-east eu-west")
    up.add_argument("--control-plane", action="store_true", help="without nodes; needs no root")
    up.add_argument(
        "--no-load-balancer",
        dest="load_balancer",
        action="store_false",
        help="Services get no addresses: they stay pending",
    )
    up.add_argument(
        "--controllers",
        choices=controlplane.CHOICES,
        default="few",
        help="of a control plane; few: namespaces, garbage collection, service accounts",
    )
    down = command("down", _down, "take clusters down; nothing of them is left")
    down.add_argument("names", nargs="*", metavar="NAME")
    down.add_argument("--all", action="store_true", help="all that there are")
    for name in ("list", "status"):
        command(name, _list, "which clusters there are, where, and what of them does not run")
    shown = command("kubeconfig", _kubeconfig, "print the path of a cluster's kubeconfig")
    shown.add_argument("name", metavar="NAME")
    for name, about in _PARTS_COMMANDS.items():
        sub = command(name, _act_on_part, about)
        sub.set_defaults(command=name)
        sub.add_argument("name", metavar="NAME")
        sub.add_argument("part", nargs="?", choices=("api", "kubelet"), default="api")
    load = command("load", _load, "load images onto the nodes of clusters")
    load.add_argument(
        "image", metavar="IMAGE", help="an archive, or broker or operator: built where need be"
    )
    load.add_argument("names", nargs="*", metavar="NAME", help="default: us-east eu-west")
    built = command("images", _images, "build our images; print their archives")
    built.add_argument("images", nargs="*", metavar="IMAGE", help="default: all")
    tools = command("tools", _tools, "build programs; print the folder to put into PATH")
    tools.add_argument(
        "programs",
        nargs="*",
        metavar="PROGRAM",
        help="default: kubectl helm; `control-plane` and `full` are all that these clusters need",
    )
    return parser


_PARTS_COMMANDS: Final = {
    "stop": "end a cluster's API server (what it knows stays), or kubelet (pods stay)",
    "start": "start it again, or let it go on",
    "freeze": "stop it in its tracks: connections stay, answers do not come",
}


def _up(parsed: argparse.Namespace) -> None:
    begun = time.monotonic()
    found = cluster.up(
        parsed.names or cluster.DEFAULT_NAMES,
        control_plane=parsed.control_plane,
        controllers=parsed.controllers,
        load_balancer=parsed.load_balancer,
    )
    say(f"Up in {duration(time.monotonic() - begun)}: {', '.join(found)}")
    for one in found.values():
        print(one.kubeconfig)


def _down(parsed: argparse.Namespace) -> None:
    names = [record.name for record in registry.everything()] if parsed.all else parsed.names
    if not names and not parsed.all:
        names = list(cluster.DEFAULT_NAMES)
    cluster.down(names)


def _list(_: argparse.Namespace) -> None:
    records = registry.everything()
    if not records:
        say("There are no clusters. Bring two up: ./hack/kube up")
    for record in records:
        one = cluster.Cluster(record)
        ill = ", ".join(f"{name} {state}" for name, state in one.parts().items() if state != "runs")
        print(f"{record.name:<18} {record.kind:<14} {one.server:<24} {ill or 'runs'}")


def _kubeconfig(parsed: argparse.Namespace) -> None:
    print(cluster.find(parsed.name).kubeconfig)


def _act_on_part(parsed: argparse.Namespace) -> None:
    one = cluster.find(parsed.name)
    actions = {
        ("stop", "api"): one.stop_api,
        ("start", "api"): one.start_api,
        ("freeze", "api"): one.freeze_api,
        ("stop", "kubelet"): one.stop_kubelet,
        ("start", "kubelet"): one.start_kubelet,
        ("freeze", "kubelet"): one.freeze_kubelet,
    }
    actions[parsed.command, parsed.part]()


def _load(parsed: argparse.Namespace) -> None:
    archive = str(images.archive_of(parsed.image))
    cluster.side_by_side(
        lambda name: cluster.find(name).load(archive), parsed.names or cluster.DEFAULT_NAMES
    )


def _images(parsed: argparse.Namespace) -> None:
    wanted = parsed.images or [recipe.tag for recipe in images.ours()]
    for image in wanted:
        archive = images.archive_of(image)
        print(f"{image}  {archive}  {archive.stat().st_size // 1_000_000} MB")


def _tools(parsed: argparse.Namespace) -> None:
    groups = {"control-plane": programs.CONTROL_PLANE, "full": programs.FULL}
    asked = parsed.programs or programs.TOOLS
    wanted = [program for name in asked for program in groups.get(name, [name])]
    programs.ensure(wanted)
    print(programs.place(wanted))
