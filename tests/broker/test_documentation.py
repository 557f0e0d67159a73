"""What README and docs/ say of the configuration is what the broker does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from certificates import Pki
from isthmus_broker.cli.check import check_file
from isthmus_broker.cli.passwd import change
from isthmus_broker.settings import Settings, hocon
from isthmus_broker.settings.models import Section

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docs/configuration.md"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_SET = "—"

Fields = dict[str, list[FieldInfo]]


def fields(model: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of the models as the document names it; the kinds of listeners are one."""
    for name, field in model.model_fields.items():
        key = prefix + name
        nested = list(sections(field.annotation))
        if key in ("listeners.tcp", "listeners.ssl", "listeners.ws", "listeners.wss"):
            key = "listeners.KIND.NAME"
        elif nested and get_origin(field.annotation) is tuple:
            yield key, field
            key += "[]"
        elif not nested:
            yield key, field
        for section in nested:
            yield from fields(section, f"{key}.")


def sections(annotation: Any) -> Iterator[type[Section]]:
    """The models that an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from sections(inner)


def documented() -> dict[str, str]:
    """Key -> what its row gives as the default."""
    rows: dict[str, str] = {}
    prefix = ""
    for line in CONFIGURATION.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"#+ `(.+)`", line):
            prefix = f"{heading[1]}."
        elif line.startswith("## "):
            prefix = ""
        elif prefix and (row := re.fullmatch(r"\| `(\w+)` \|(.+)\|(.+)\|(.*)\|", line)):
            rows[prefix + row[1]] = row[3].strip()
    return rows


KEYS: Fields = {}
for _key, _field in fields(Settings):
    KEYS.setdefault(_key, []).append(_field)
# A list or an object with no text of its own has its row in the section that it opens.
OPENED = {"authentication"}


def test_every_key_has_its_row_and_no_other() -> None:
    assert sorted(documented()) == sorted(KEYS.keys() - OPENED)


@pytest.mark.parametrize("key", sorted(KEYS.keys() - OPENED))
def test_the_default_of_a_row_is_the_one_in_force(key: str) -> None:
    shown = documented()[key]
    for field in KEYS[key]:
        if shown == "required":
            assert field.is_required(), f"{key} has the default {field.default!r}"
        elif shown == NOT_SET:
            assert field.default is None, f"{key} has the default {field.default!r}"
        elif not field.is_required():
            assert value(field, shown.strip("`")) == field.default


def value(field: FieldInfo, text: str) -> Any:
    """The text as the value of a key, read as from a file."""
    plain = hocon.loads(f"key = {text}", {}).root.plain()
    assert isinstance(plain, dict)
    kind: Any = field.annotation
    for constraint in field.metadata:
        kind = Annotated[kind, constraint]
    return TypeAdapter(kind).validate_python(plain["key"])


def examples() -> Iterator[Any]:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"```hocon\n(.*?)```", text, re.DOTALL), 1):
            yield pytest.param(block, id=f"{document.name}-{number}")


@pytest.mark.parametrize("block", list(examples()))
def test_every_example_passes_the_check(block: str, tmp_path: Path, pki: Pki) -> None:
    certs, secrets = tmp_path / "certs", tmp_path / "secrets"
    certs.mkdir()
    secrets.mkdir()
    (certs / "ca.pem").write_bytes(pki.ca.read_bytes())
    for name in ("server", "client"):
        (certs / f"{name}.pem").write_bytes(pki.server.cert.read_bytes())
        (certs / f"{name}.key").write_bytes(pki.server.key.read_bytes())
    for name in ("eu-west", "us-east", "api-key"):
        (secrets / name).write_text("correct horse battery staple\n")
    change(tmp_path / "users", "cluster-eu-west", b"secret")
    path = tmp_path / "isthmus.conf"
    path.write_text(block)
    assert check_file(path, {}).mistakes == ()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: it.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\"]+)\"", text):
        name = target[0] or target[1]
        if "://" not in name:
            assert (document.parent / name).exists(), f"{document.name}: {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: it.name)
def test_anchors_are_headings(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", text):
        if "://" in name:
            continue
        there = (document.parent / name if name else document).read_text(encoding="utf-8")
        headings = [slug(found) for found in re.findall(r"^#+ (.+)$", there, re.MULTILINE)]
        assert anchor in headings, f"{document.name}: {name}#{anchor}"


def slug(heading: str) -> str:
    """The anchor of a heading, as hosting sites make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_tree_of_folders_is_as_it_is() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"```\n(broker/\n.*?)```", text, re.DOTALL)
    assert tree is not None
    path: list[str] = []
    named = set()
    for indent, name in re.findall(r"^( *)(\S+)", tree[1], re.MULTILINE):
        path[len(indent) // 2 :] = [name.strip("/")]
        if name.endswith(".py"):
            named.add("/".join(path))
    package = ROOT / "broker"
    files = {f"broker/{it.relative_to(package)}" for it in package.rglob("*.py")}
    assert named == {it for it in files if not it.endswith("__init__.py")}
