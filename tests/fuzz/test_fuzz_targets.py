"""What the fuzzer begins with, and what it once found, passes; and a target notices where the service is wrong."""

import importlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import bodies, connections, texts
from fuzz.__main__ import main
from fuzz.guided import CORPUS, TARGETS, available, run_guided
from service import schemas
from service.parsing import BoundedParsing

INPUTS = sorted(path for target in TARGETS for path in (CORPUS / target).iterdir())
needs_atheris = pytest.mark.skipif(not available(), reason="atheris is built for Linux, and not for every Python")


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_of_the_corpus_passes(path: Path):
    importlib.import_module(f"fuzz.{path.parent.name}").check(path.read_bytes())


@pytest.mark.parametrize("target", [bodies, connections, texts], ids=lambda target: target.__name__)
@given(data=st.data())
def test_an_input_that_is_cut_or_joined_with_another_passes(target, data):
    own = [path.read_bytes() for path in INPUTS if target.__name__.endswith(path.parent.name)]
    one, other = data.draw(st.sampled_from(own)), data.draw(st.sampled_from(own))
    inserted = data.draw(st.binary(max_size=8))
    start, stop = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(other)))
    target.check(one[:start] + inserted + other[stop:])


@needs_atheris
@pytest.mark.parametrize("target", TARGETS)
def test_a_short_guided_run_finds_nothing(target, tmp_path):
    assert run_guided(target, seed=1, seconds=0, runs=250, found=tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_an_unknown_field_that_gets_through_is_noticed(monkeypatch):
    monkeypatch.setattr(schemas, "PRODUCT_KEYS", schemas.PRODUCT_KEYS | {"a/b~c"})
    with pytest.raises(Exception, match=r"a/b~c|extra"):
        bodies.check(b'\x40{"query": "usb", "products": [{"title": "x", "a/b~c": 1}]}')


def test_a_sound_body_that_is_refused_is_noticed(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_VALUES", 3)
    with pytest.raises(AssertionError, match="a sound request has too many values"):
        bodies.check((CORPUS / "bodies" / "plain").read_bytes())


def test_a_trailer_that_passes_for_a_header_is_noticed(monkeypatch):
    def on_message_complete(self):
        self.body_goes_on(b"x")
        self.message_ended()

    monkeypatch.setattr(BoundedParsing, "on_message_complete", on_message_complete)
    with pytest.raises(AssertionError, match="h11 reads another request"):
        connections.check((CORPUS / "connections" / "pipelined").read_bytes())


def test_a_token_too_many_is_noticed(monkeypatch):
    tokenizer, _ = texts.tokenizers()
    monkeypatch.setattr(tokenizer._words, "encode_heads", lambda texts, *_: [[1] for _ in texts])
    with pytest.raises(AssertionError, match="a query's tokens are not the library's"):
        texts.check((CORPUS / "texts" / "plain").read_bytes())


def test_a_part_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["bodys"])
    assert "expected parts of bodies, connections, texts" in capsys.readouterr().err
