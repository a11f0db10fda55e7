"""The split student: it starts as its sentence encoder, learns from lists, and a pair's logit is its own."""

import threading

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional
from transformers import AutoModel

from artifact import InputTemplate, TemplateField
from training.config import Optimisation, Split, Student, StudentStage
from training.errors import TrainingError
from training.loop import CHECKPOINT_FILE
from training.split import Shared, SplitStudent
from training.split.encoder import TextEncoder
from training.split.shorten import shorten, state_distance
from training.split.states import FrozenStates
from training.student import fit_student, read_student

from .lists import KINDS, write_lists
from .processes import launch_two

TEMPLATE = InputTemplate(fields=(TemplateField(name="title", max_tokens=20),), max_query_tokens=8, max_tokens=32)
PAIRS = [("lamp red", {"title": f"acme {kind} {colour}"}) for kind in KINDS for colour in ("red", "black")]
FIT = {"learning_rate": 1e-2, "epochs": 6, "batch_pairs": 16, "precision": "fp32", "checkpoint_every_s": 1e-9}


@pytest.fixture
def shard(tmp_path):
    return write_lists(tmp_path / "lists.parquet")


def fit_at(folder, encoder, shard, layers=(0, 1, 2), fit=FIT, shared=None, **split):
    """Trains a student of a shape in a folder, and returns it."""
    split = {"interaction_layers": (0, 1), "state_width": 8, **split}
    stages = (StudentStage(labels="teacher", fit=fit),)
    settings = Student(init=str(encoder), layers=layers, template=TEMPLATE, split=Split(**split), stages=stages)
    fit_student(settings, {"teacher": [shard]}, folder / "work", folder / "out", 0, shared)
    return folder


@pytest.fixture
def fitted(tiny_encoder, shard, tmp_path):
    """Trains a student of a shape, in a folder of its own, and returns that folder."""
    return lambda name="student", **shape: fit_at(tmp_path / name, tiny_encoder, shard, **shape)


@pytest.fixture(scope="module")
def trained(tiny_encoder, tmp_path_factory):
    """The folder of a student that tests only read."""
    folder = tmp_path_factory.mktemp("trained")
    return fit_at(folder, tiny_encoder, write_lists(folder / "lists.parquet"))


@pytest.mark.parametrize("train_encoders", [False, True])
@pytest.mark.parametrize("interaction_layers", [(0, 1), (1,), ()])
def test_it_puts_the_better_products_first(fitted, interaction_layers, train_encoders):
    folder = fitted(interaction_layers=interaction_layers, train_encoders=train_encoders)
    logits = read_student(folder / "out").logits(PAIRS)
    start = read_student(folder / "work" / "start").logits(PAIRS)
    wanted = np.asarray([3.0, *[-3.0] * 7])
    assert np.square(logits - wanted).mean() < np.square(start - wanted).mean()
    if interaction_layers:
        assert logits[0] == logits.max()


def test_untrained_shortcuts_are_cosine_and_maxsim_of_the_sentence_encoder(fitted, tiny_encoder):
    student = SplitStudent.read(fitted(state_width=None) / "work" / "start")
    with torch.no_grad():
        found = student.eval().shortcuts(student.encode(PAIRS)).numpy()
    bert = AutoModel.from_pretrained(tiny_encoder).eval()

    def encoded(text):
        batch = student.tokenizer.collate_alone([text]).feeds()
        with torch.no_grad():
            states = bert(**{name: torch.from_numpy(array) for name, array in batch.items()}).last_hidden_state[0]
        return states.mean(0), functional.normalize(states[1:-1], dim=-1)

    for (query, product), (cosine, maxsim) in zip(student.encode(PAIRS), found, strict=True):
        (query_vector, query_tokens), (product_vector, product_tokens) = encoded(query), encoded(product)
        assert cosine == pytest.approx(float(torch.cosine_similarity(query_vector, product_vector, dim=0)), abs=1e-5)
        best = (query_tokens @ product_tokens.T).max(dim=1).values
        assert maxsim == pytest.approx(float(best.mean()), abs=1e-5)


def test_a_projection_keeps_most_of_what_states_have_in_common(fitted):
    whole = SplitStudent.read(fitted("whole", state_width=None) / "work" / "start")
    narrow = SplitStudent.read(fitted("narrow", state_width=16) / "work" / "start")
    pairs = whole.encode(PAIRS)
    with torch.no_grad():
        difference = whole.eval().shortcuts(pairs) - narrow.eval().shortcuts(pairs)
    assert difference[:, 0].abs().max() < 1e-5
    assert difference[:, 1].abs().max() < 0.1


def test_a_logit_does_not_depend_on_the_pairs_beside_it(trained):
    student = SplitStudent.read(trained / "out")
    pairs = [*PAIRS, ("headset", {"title": "acme headset black acme red mouse tripod lamp"}), ("lamp", {})]
    together = student.logits(pairs)
    alone = np.concatenate([student.logits([pair]) for pair in pairs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_products_and_queries_without_a_token_have_logits(trained):
    logits = SplitStudent.read(trained / "out").logits([("lamp", {}), ("", {"title": "lamp"}), ("", {})])
    assert np.isfinite(logits).all()


def test_frozen_encoders_stay_as_they_are_and_others_learn(fitted, tiny_encoder):
    original = TextEncoder.create(str(tiny_encoder)).state_dict()
    for name, moves in (("frozen", False), ("trained", True)):
        student = SplitStudent.read(fitted(name, train_encoders=moves) / "out")
        changed = [key for key, value in student.query_encoder.state_dict().items() if not value.equal(original[key])]
        assert bool(changed) == moves


def test_training_from_stored_states_is_training_from_texts(fitted, monkeypatch):
    few = {**FIT, "learning_rate": 1e-3, "epochs": 1}
    stored = read_student(fitted("stored", fit=few) / "out").logits(PAIRS)
    monkeypatch.setattr(SplitStudent, "freeze", lambda self, *_: self.query_encoder.requires_grad_(False))
    computed = read_student(fitted("computed", fit=few) / "out").logits(PAIRS)
    np.testing.assert_allclose(stored, computed, atol=0.02)  # stored as float16


def test_stopped_computing_of_states_goes_on_where_it_was(trained, tmp_path, monkeypatch):
    student = SplitStudent.read(trained / "out")
    texts = [
        student.tokenizer.encode_products([{"title": " ".join(KINDS[i % 4] for i in range(n))}])[0] for n in range(1, 9)
    ]
    monkeypatch.setattr("training.split.states.TEXTS_PER_STEP", 3)

    def build(folder):
        return FrozenStates.build(folder, student.product_encoder, student.tokenizer, texts, "key", "fp32", "states")

    whole = build(tmp_path / "whole")
    build(tmp_path / "stopped")
    for name, size in (("states", 1000), ("pooled", 700), ("ends", 50)):
        with (tmp_path / "stopped" / name).open("r+b") as file:
            file.truncate(size)
    resumed = build(tmp_path / "stopped")
    for text in texts:
        for found, wanted in zip(resumed.get(text), whole.get(text), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_states_of_an_encoder_that_changed_are_computed_anew(trained, tmp_path):
    student = SplitStudent.read(trained / "out")
    (lamp,) = student.tokenizer.encode_products([{"title": "lamp"}])

    def build():
        return FrozenStates.build(tmp_path, student.product_encoder, student.tokenizer, [lamp], "key", "fp32", "states")

    before = build().get(lamp)[1].clone()
    with torch.no_grad():
        student.product_encoder.bert.embeddings.word_embeddings.weight.mul_(2)
    assert not torch.equal(build().get(lamp)[1], before)


def test_a_start_that_was_stopped_after_its_encoder_is_the_same(fitted, monkeypatch):
    settings = {"layers": (1,), "shorten": {**FIT, "epochs": 2}}
    whole = fitted("whole", **settings)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.split.start.fit_shortcuts", stop)
        with pytest.raises(KeyboardInterrupt):
            fitted("stopped", **settings)
    stopped = fitted("stopped", **settings)
    file = "work/start/interaction.safetensors"
    assert (stopped / file).read_bytes() == (whole / file).read_bytes()


def test_states_of_other_texts_are_not_taken_for_these(trained, tmp_path):
    student = SplitStudent.read(trained / "out")
    lamp, mouse = student.tokenizer.encode_products([{"title": "lamp"}, {"title": "mouse"}])

    def build(texts, key):
        return FrozenStates.build(tmp_path, student.product_encoder, student.tokenizer, texts, key, "fp32", "states")

    before = build([lamp], "lamps").get(lamp)[1].clone()
    after = build([mouse], "mice")
    assert lamp not in after
    assert not torch.equal(after.get(mouse)[1], before)


def test_a_shortened_encoder_comes_near_the_whole_one(trained, tiny_encoder, tmp_path):
    tokenizer = SplitStudent.read(trained / "out").tokenizer
    texts = tokenizer.encode_products([product for _, product in PAIRS])
    whole, short = TextEncoder.create(str(tiny_encoder)), TextEncoder.create(str(tiny_encoder), [1])

    def distance():
        with torch.no_grad():
            return float(state_distance(short(texts, tokenizer), whole(texts, tokenizer)))

    before = distance()
    settings = Optimisation(learning_rate=3e-3, epochs=40, batch_pairs=4, precision="fp32")
    shorten(short, whole, tokenizer, texts, settings, tmp_path / "shorten", 0)
    assert distance() < before / 4


def test_queries_and_products_share_an_encoder_unless_queries_get_their_own(fitted):
    shared = SplitStudent.read(fitted("shared", layers=(1,), shorten={**FIT, "epochs": 2}) / "out")
    assert shared.query_encoder is shared.product_encoder
    own = SplitStudent.read(fitted("own", layers=(1,), query_layers=(0, 1, 2), shorten={**FIT, "epochs": 2}) / "out")
    assert (own.query_encoder.layers, own.product_encoder.layers) == (3, 1)


def test_a_finished_start_is_taken_as_it_is(fitted):
    folder = fitted(layers=(1,), shorten={**FIT, "epochs": 2})
    written = {path: path.stat().st_mtime_ns for path in (folder / "work" / "start").rglob("*") if path.is_file()}
    (folder / "work" / "stage-0" / "template.json").unlink()
    fitted(layers=(1,), shorten={**FIT, "epochs": 2})
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_what_training_needs_of_the_disk_is_given_back(fitted):
    folder = fitted(layers=(1,), shorten={**FIT, "epochs": 2})
    assert not list(folder.rglob("states/*/states"))
    assert not (folder / "work" / "shorten").exists()
    assert (folder / "work" / "stage-0-fit" / CHECKPOINT_FILE).exists()


def test_what_students_share_is_made_once_and_changes_none_of_them(fitted, tmp_path, monkeypatch):
    settings = {"layers": (1,), "shorten": {**FIT, "epochs": 2}}
    alone, shared = fitted("alone", **settings), Shared(tmp_path / "shared", print)
    first = fitted("first", **settings, shared=shared)
    files = [path.relative_to(alone) for path in (alone / "out").rglob("*") if path.is_file()]
    assert files
    assert all((first / file).read_bytes() == (alone / file).read_bytes() for file in files)

    def again(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("training.split.shorten.state_distance", again)
    monkeypatch.setattr("training.split.states.encode", again)
    fitted("second", **settings, shared=shared, interaction_layers=(1,))
    for other in ({"layers": (0,)}, {"shorten": {**FIT, "epochs": 3}}):
        with pytest.raises(AssertionError, match="computed again"):
            fitted("third", **{**settings, **other}, shared=shared)
    with pytest.raises(AssertionError, match="computed again"):  # the states of another encoder
        fitted("fourth", shared=shared)


def test_what_students_share_is_for_one_process_at_a_time(tmp_path):
    said = []
    shared = Shared(tmp_path / "shared", said.append)
    asked, entered = threading.Event(), []

    def enter():
        with Shared(tmp_path / "shared", lambda line: (said.append(line), asked.set())).place("states", "a") as place:
            entered.append(place)

    with shared.place("states", "a") as place, shared.place("states", "b") as other:
        assert place != other
        thread = threading.Thread(target=enter)
        thread.start()
        assert asked.wait(60)
        assert not entered
    thread.join(60)
    assert entered == [place]
    assert len(said) == 1
    assert "another process is at work on it" in said[0]


def test_it_cannot_start_from_its_teacher():
    with pytest.raises(ValidationError, match="starts from a sentence encoder"):
        Student(
            init="teacher",
            layers=(0,),
            template=TEMPLATE,
            split=Split(),
            stages=(StudentStage(labels="teacher", fit=FIT),),
        )


def test_layers_that_the_encoder_lacks_are_refused(fitted):
    with pytest.raises(TrainingError, match="has 3 layers"):
        fitted(interaction_layers=(4, 5))


def test_a_damaged_interaction_is_refused(fitted):
    folder = fitted() / "out"
    (folder / "interaction.safetensors").write_bytes(b"not weights")
    with pytest.raises(TrainingError, match=r"interaction\.safetensors: cannot be read"):
        read_student(folder)


def test_a_shortcut_that_is_left_out_stays_out(fitted):
    student = SplitStudent.read(fitted(shortcuts=("cosine",)) / "out")
    cosine, maxsim = student.interaction.shortcut.weight.detach()[0].tolist()
    assert maxsim == 0.0
    assert cosine != 0.0


IN_TWO = """
import pathlib, sys
from training import parallel
from training.config import Student
from training.student import fit_student
parallel.processes()
folder = pathlib.Path(sys.argv[1])
settings = Student.model_validate_json((folder / "settings.json").read_bytes())
fit_student(settings, {"teacher": [folder / "lists.parquet"]}, folder / "two", folder / "two-out", 0)
"""


def test_two_processes_start_and_train_the_student_that_one_does(tiny_encoder, shard, tmp_path):
    few = {**FIT, "learning_rate": 1e-3, "epochs": 1}
    settings = Student(
        init=str(tiny_encoder),
        layers=(1,),
        template=TEMPLATE,
        split=Split(interaction_layers=(0, 1), state_width=8, shorten=few),
        stages=(StudentStage(labels="teacher", fit=few),),
    )
    (tmp_path / "settings.json").write_text(settings.model_dump_json())
    (tmp_path / "script.py").write_text(IN_TWO)
    launch_two(tmp_path / "script.py", [str(tmp_path)], "--multi_gpu")
    fit_student(settings, {"teacher": [shard]}, tmp_path / "one", tmp_path / "one-out", 0)
    one, two = (read_student(tmp_path / name).logits(PAIRS) for name in ("one-out", "two-out"))
    np.testing.assert_allclose(two, one, atol=0.02)  # from states in float16
    assert one.std() > 0.1
