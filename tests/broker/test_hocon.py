"""HOCON text: what it means, where its mistakes are, and that nothing else agrees less with us."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.settings import hocon

ENV = {"HOME_DIR": "/h", "PORT": "1883"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("a = 1", {"a": "1"}),
        ('{"a": 1,\n"b": [1, 2, {"c": null}]}', {"a": "1", "b": ["1", "2", {}]}),
        ('a="x" // c\nb=1 # d', {"a": "x", "b": "1"}),
        ("a.b.c = 1\na.b { d = 2 }", {"a": {"b": {"c": "1", "d": "2"}}}),
        ('"a.b" = 1', {"a.b": "1"}),
        ("tcp.clink {\n bind = 11883\n}", {"tcp": {"clink": {"bind": "11883"}}}),
        ("a={b=1}\na={c=2}", {"a": {"b": "1", "c": "2"}}),
        ("a=1\na={c=2}\na.c=3", {"a": {"c": "3"}}),
        ("a=[{b=1}\n{b=2},]", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("a=[1]\na += 2", {"a": ["1", "2"]}),
        ("a += 2", {"a": ["2"]}),
        ("a=[1]\na=${a}[2]", {"a": ["1", "2"]}),
        ("a=foo bar  baz ", {"a": "foo bar  baz"}),
        ('a=foo "bar"', {"a": "foo bar"}),
        ('a="""x\n"y" """', {"a": 'x\n"y" '}),
        ('a="\\u00e9\\n"', {"a": "é\n"}),
        ("a=0.0.0.0:1883\nb=mqtts://h // c", {"a": "0.0.0.0:1883", "b": "mqtts://h"}),
        ('a=${x}"/y"\nx=3', {"a": "3/y", "x": "3"}),
        ("a=${?HOME_DIR}\nb=${?NO}\nc=1,c=${?NO}", {"a": "/h", "c": "1"}),
        ('a=":"${PORT}', {"a": ":1883"}),
        ("a=[${?NO},1]", {"a": ["1"]}),
        ("b=${a}{y=2}\na={x=1}\nb.z=3", {"b": {"x": "1", "y": "2", "z": "3"}, "a": {"x": "1"}}),
        ("a=1\na=null", {}),
        ("\ufeffa=1\r\nb=2\r\n", {"a": "1", "b": "2"}),
    ],
)
def test_text_means(text: str, value: object) -> None:
    assert hocon.loads(text, ENV).root.plain() == value


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = {", 1, 'expected "}"'),
        ("a = 1\nb = [1,\n2", 3, 'expected "]"'),
        ("a = [1,,2]", 1, "expected a value"),
        ('\na = "x\n', 2, "quotation mark"),
        ("a = 1\n}", 2, "closes nothing"),
        ("a = 1\nb = ${nope}", 2, "neither a key nor an environment variable"),
        ("a b = 1", 1, 'expected "=" or "{"'),
        ("a = 15s, b=3 c=2", 1, "expected a new line"),
        ("topics = [a/#, b]", 1, "needs quotes"),
        ("a=${b}\nb=${a}", 2, "circle"),
        ("a = [1] {b=1}", 1, "can't be joined"),
        ("[1]", 1, "expected a key"),
        ("a=" + "[" * 200, 1, "nested deeper"),
        ("a=" + "{a=" * 200, 1, "nested deeper"),
        ('include url("http://example.net/")', 1, "expected include"),
        ('include required(file("nope"))', 1, "does not exist"),
        ('a = "\\x"', 1, "escape"),
    ],
)
def test_mistake_has_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hocon.loads(text, {}, "f.conf")
    (mistake,) = caught.value.mistakes
    assert (mistake.file, mistake.line) == ("f.conf", line)
    assert said in mistake.message


def test_includes_are_relative_and_remembered(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.conf").write_text('x = 1\ny = ${x}\ninclude "c.conf"')
    (tmp_path / "sub/c.conf").write_text("z = 3")
    main = tmp_path / "a.conf"
    main.write_text('in { include "sub/b.conf" }\nx = 9\ninclude "missing.conf"\n')
    document = hocon.load(main, {})
    assert document.root.plain() == {"in": {"x": "1", "y": "1", "z": "3"}, "x": "9"}
    assert [path.name for path in document.files] == ["a.conf", "b.conf", "c.conf", "missing.conf"]
    assert [(path.name, line) for path, _, line in document.missing] == [("missing.conf", 3)]
    place = document.root.find(("in", "z"))
    assert (Path(place.file).name, place.line) == ("c.conf", 1)


def test_file_that_includes_itself(tmp_path: Path) -> None:
    main = tmp_path / "a.conf"
    main.write_text('include "a.conf"')
    with pytest.raises(ConfigurationError, match="includes itself"):
        hocon.load(main, {})


@pytest.mark.parametrize(
    ("content", "said"), [(None, "can't be read"), (b"a=1\n\xff", "not UTF-8")]
)
def test_unreadable_file(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.conf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        hocon.load(path, {})


@given(st.text(alphabet='ab.={}[]:,#$?"+ \n\\/1é', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        hocon.loads(text, {})


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.text(max_size=8))
_JSON = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(
        _SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=4), inner)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def _as_text(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_text(it) for key, it in value.items() if it is not None}
    if isinstance(value, list):
        return [_as_text(it) for it in value]
    return value if value is None or isinstance(value, str) else json.dumps(value)


@given(_JSON, st.booleans())
def test_json_is_hocon(value: dict[str, object], ascii_only: bool) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=ascii_only)
    assert hocon.loads(text, {}).root.plain() == _as_text(value)


def test_another_reader_agrees() -> None:
    text = """
    cluster { name = a-b, links = [ { server = "h:1", topics = ["#", "t/+"] }
                                    { server = "g:2" } ] }
    base { x = 1, y { z = foo bar } }
    copy = ${base} { x = 2 }
    list = [1, 2] [3]
    copy.y.w = "q"  # comment
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyhocon = pytest.importorskip("pyhocon")
        other = pyhocon.ConfigFactory.parse_string(text).as_plain_ordered_dict()
    assert hocon.loads(text, {}).root.plain() == _as_text(json.loads(json.dumps(other)))
