"""The teacher's look at what a service scored: reading, labels that resume, and the figures of disagreement."""

import gzip
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

from training.__main__ import main
from training.audit.disagreement import Audited, Disagreement, WorstPairs, sigmoid
from training.audit.reading import MAX_LINE_BYTES, audit_files, requests_in
from training.audit.shards import SHARD_PAIRS, shard_file
from training.teacher import read_teacher, similarity_of


def pair(position=0, request_id="r-0", **changes):
    return {
        "format": 1,
        "time": "2026-11-22T04:00:00.000+00:00",
        "route": "/score",
        "request_id": request_id,
        "trace_id": None,
        "model": "default",
        "version": "v1",
        "position": position,
        "query": "acme mouse",
        "product": {"title": f"acme mouse {position}", "brand": "acme"},
        "text": {"query": "acme mouse", "product": [f"acme mouse {position}"]},
        "logit": 0.5 * position,
        "score": float(sigmoid(np.array(0.5 * position))),
        **changes,
    }


def write(path, rows, *, zipped=True):
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


@pytest.fixture
def audited(tmp_path):
    """Two files as a service leaves them, and one that it still writes."""
    folder = tmp_path / "audited"
    folder.mkdir()
    for number in range(2):
        rows = [pair(i, f"r-{number}-{request}", version=f"v{1 + number}") for request in range(3) for i in range(4)]
        write(folder / f"audit-2026112{number}T000000.000000Z-aa.jsonl.gz", rows)
    (folder / "audit-20261123T000000.000000Z-aa.jsonl.gz.part").write_bytes(b"half")
    return folder


@pytest.fixture
def trained(command, run_of):
    assert command("teacher") == 0
    return run_of()


def audit(*arguments):
    return main(["audit", *map(str, arguments)])


def test_the_report_is_what_the_teacher_says_of_the_pairs(trained, audited, capsys):
    assert audit(audited, "--run", trained.folder) == 0
    printed = capsys.readouterr().out
    report = json.loads((trained.folder / "audit" / "report.json").read_text())
    rows = [pair(i) for i in range(4)]
    logits = read_teacher(trained, similarity_of(trained))([(row["query"], row["product"]) for row in rows])
    teacher = 1 / (1 + np.exp(-logits.astype(np.float64)))
    served = np.array([row["score"] for row in rows])
    figures = report["all"]
    assert (figures["requests"], figures["pairs"], report["bad_lines"]) == (6, 24, 0)
    assert figures["mean_absolute_difference"] == pytest.approx(np.abs(served - teacher).mean(), abs=1e-5)
    assert figures["mean_teacher_score"] == pytest.approx(teacher.mean(), abs=1e-5)
    assert {name: each["requests"] for name, each in report["versions"].items()} == {"default v1": 3, "default v2": 3}
    assert len(report["worst_pairs"]) == 20
    worst = report["worst_pairs"][0]
    assert worst["difference"] == pytest.approx(np.abs(served - teacher).max(), abs=1e-5)
    assert worst["product"] == rows[int(np.abs(served - teacher).argmax())]["product"]
    assert "| default v1 | 3 | 12 |" in printed
    assert "| all | 6 | 24 |" in printed
    assert "acme mouse" in printed


def test_the_data_of_the_run_need_not_be_at_hand(trained, audited, data_folder):
    data_folder.rename(data_folder.with_name("elsewhere"))
    assert audit(audited, "--run", trained.folder) == 0


def test_what_has_been_labelled_is_not_labelled_again(trained, audited, monkeypatch):
    out = trained.folder / "audit"
    (first, _) = audit_files([audited])
    assert audit(first, "--run", trained.folder) == 0
    calls = []
    monkeypatch.setattr("training.audit.command.label_shards", lambda _, paths, *__: calls.append(list(paths)))
    assert audit(first, "--run", trained.folder) == 0
    assert not calls
    assert audit(audited, "--run", trained.folder) == 2, "nothing was labelled of the second"
    assert [len(paths) for paths in calls] == [1]
    monkeypatch.undo()
    assert audit(audited, "--run", trained.folder) == 0
    assert json.loads((out / "report.json").read_text())["all"]["pairs"] == 24


def test_another_teacher_labels_anew(trained, audited):
    assert audit(audited, "--run", trained.folder) == 0
    path = trained.teacher / "teacher.json"
    before = json.loads((trained.folder / "audit" / "report.json").read_text())["all"]["mean_teacher_score"]
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "temperature": record["temperature"] * 5}))
    assert audit(audited, "--run", trained.folder) == 0
    after = json.loads((trained.folder / "audit" / "report.json").read_text())["all"]["mean_teacher_score"]
    assert abs(after - 0.5) < abs(before - 0.5)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"not json", "line 3: expected a pair as JSON: Invalid JSON"),
        (b"", "line 3: expected a pair as JSON: Invalid JSON"),
        (json.dumps(pair(score=1.5)).encode(), "line 3: expected a pair as JSON: score: "),
        (json.dumps(pair(logit=float("nan"))).encode(), "line 3: expected a pair as JSON: logit: "),
        (json.dumps(pair(query="")).encode(), "line 3: expected a pair as JSON: query: "),
        (json.dumps(pair(product={"price": "3"})).encode(), "line 3: expected a pair as JSON: product.price"),
        (json.dumps(pair(format=2)).encode(), "line 3: expected a pair as JSON: format: "),
    ],
    ids=["words", "empty", "score", "nan", "query", "field", "format"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["gzip", "plain"])
def test_a_bad_line_is_named_and_may_be_skipped(trained, tmp_path, capsys, line, problem, zipped):
    rows = [json.dumps(pair(i)).encode() for i in range(4)]
    content = b"\n".join([*rows[:2], line, *rows[2:]]) + b"\n"
    path = tmp_path / "bad.jsonl"
    path.write_bytes(gzip.compress(content) if zipped else content)
    assert audit(path, "--run", trained.folder) == 2
    error = capsys.readouterr().err
    assert f"error: {path}, {problem}" in error
    assert "--skip-bad-lines" in error
    assert audit(path, "--run", trained.folder, "--skip-bad-lines") == 0
    assert "Lines left out, being no pairs: 1." in capsys.readouterr().out
    report = json.loads((trained.folder / "audit" / "report.json").read_text())
    assert (report["all"]["pairs"], report["bad_lines"]) == (4, 1)
    assert audit(path, "--run", trained.folder) == 2, "what was skipped once is not forgotten"


def test_files_that_cannot_be_audited_are_refused_in_a_sentence(trained, audited, tmp_path, capsys):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(audit_files([audited])[0].read_bytes()[:-20])
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(cut.read_bytes()[:20] + b"\xff" * 40)
    long = tmp_path / "long.jsonl"
    long.write_bytes(b"x" * (MAX_LINE_BYTES + 10))
    empty_folder, empty = tmp_path / "nothing", tmp_path / "empty.jsonl"
    empty_folder.mkdir()
    empty.touch()
    for path, problem in (
        (cut, "cut short, or still being written"),
        (damaged, "damaged: "),
        (long, "line 1: longer than"),
        (empty_folder, "holds no finished audit file"),
        (empty, "holds no pair"),
        (tmp_path / "nowhere", "no such file or folder"),
    ):
        assert audit(path, "--run", trained.folder) == 2
        assert problem in capsys.readouterr().err
    assert audit(audited, "--run", tmp_path / "no-run") == 2
    assert "expected the folder of a run" in capsys.readouterr().err


def test_a_run_without_a_teacher_is_refused(command, run_of, audited, capsys):
    assert command("data") == 0
    assert audit(audited, "--run", run_of().folder) == 2
    assert "has no finished teacher" in capsys.readouterr().err


def test_a_request_stands_in_one_shard_and_shards_are_made_once(tmp_path):
    rows = [pair(i, f"r-{request}") for request in range(5) for i in range(1000)]
    path = write(tmp_path / "many.jsonl.gz", rows)
    made = shard_file(path, tmp_path / "pairs")
    assert len(made.paths) == 2
    assert SHARD_PAIRS <= 3000
    times = [shard.stat().st_mtime_ns for shard in made.paths]
    renamed = path.rename(tmp_path / "other.jsonl.gz")
    assert shard_file(renamed, tmp_path / "pairs") == made
    assert [shard.stat().st_mtime_ns for shard in made.paths] == times


def test_requests_are_told_apart_where_they_follow_one_another(tmp_path):
    rows = [pair(0, "a"), pair(1, "a"), pair(0, "b"), pair(0, "b", time="later"), pair(0, "b", version="v2")]
    found = requests_in(write(tmp_path / "x.jsonl", rows, zipped=False))
    assert [len(request) for request in found] == [2, 1, 1, 1]


def test_files_named_twice_count_once(audited):
    found = audit_files([audited, *audited.glob("*.gz")])
    assert len(found) == 2


LOGITS = st.lists(st.tuples(*[st.integers(-4, 4)] * 2), min_size=1, max_size=12)


def of(requests, relevant=0.5):
    made = Disagreement(relevant)
    for served, teacher in requests:
        logits = np.array(served, np.float64)
        made.add(Audited(logits, sigmoid(logits), np.array(teacher, np.float64)))
    return made.figures()


@given(LOGITS)
def test_tau_and_inversions_count_pairs_as_a_loop_does(rows):
    served, teacher = zip(*rows, strict=True)
    figures = of([(served, teacher)])
    inverted = ordered = 0.0
    for (a, b), (c, d) in itertools.combinations(rows, 2):
        if (a, b) != (c, d) and (a != c or b != d):
            ordered += 1
            inverted += 0.5 if a == c or b == d else float((a < c) != (b < d))
    if not ordered:
        assert figures["kendall_tau"] is figures["inversions"] is None
        return
    assert figures["inversions"] == pytest.approx(inverted / ordered)
    assert figures["kendall_tau"] == pytest.approx(1 - 2 * inverted / ordered)


def test_without_ties_tau_is_kendalls():
    generator = np.random.default_rng(0)
    served, teacher = generator.normal(size=50), generator.normal(size=50)
    assert of([(served, teacher)])["kendall_tau"] == pytest.approx(kendalltau(served, teacher).statistic)


@given(st.lists(LOGITS, min_size=1, max_size=4), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_auc_over_all_requests_is_that_of_all_pairs_together(requests, relevant):
    figures = of([tuple(zip(*rows, strict=True)) for rows in requests], relevant)
    served, teacher = (np.array(each, np.float64) for each in zip(*itertools.chain(*requests), strict=True))
    labels = sigmoid(teacher) >= relevant
    assert figures["relevant_share"] == pytest.approx(labels.mean())
    if labels.all() or not labels.any():
        assert figures["auc"] is None
    else:
        assert figures["auc"] == pytest.approx(roc_auc_score(labels, served))


def test_clear_inversions_are_of_products_that_the_teacher_sees_far_apart():
    teacher = [-2.0, 2.0, 2.1]
    assert of([([0, 1, 2], teacher)])["clear_inversions"] == 0.0
    assert of([([0, 2, 1], teacher)])["clear_inversions"] == 0.0
    assert of([([1, 0, 2], teacher)])["clear_inversions"] == 0.5
    assert of([([0, 1], [0.0, 0.1])])["clear_inversions"] is None


def test_the_interval_of_tau_narrows_with_requests():
    generator = np.random.default_rng(1)
    requests = [(generator.normal(size=10), generator.normal(size=10)) for _ in range(400)]
    few, many = of(requests[:20]), of(requests)
    assert few["kendall_tau_half_width"] > 3 * many["kendall_tau_half_width"]
    assert abs(many["kendall_tau"]) < many["kendall_tau_half_width"] * 2
    assert of(requests[:1])["kendall_tau_half_width"] is None


def test_a_request_of_many_products_is_compared_in_bounded_memory():
    n = 20_000
    figures = of([(np.arange(n), -np.arange(n))])
    assert figures["kendall_tau"] == -1.0
    assert figures["pairs"] == n


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 5))
def test_the_worst_pairs_are_those_furthest_off(differences, most):
    worst = WorstPairs(most)
    for difference in differences:
        if worst.would_take(difference):
            worst.add(difference, {})
    assert [each["difference"] for each in worst.pairs()] == sorted(differences, reverse=True)[:most]


@pytest.mark.parametrize("option", [("--relevant", "1.5"), ("--worst", "-1"), ("--relevant", "x")])
def test_options_that_cannot_be_are_refused(option, audited):
    with pytest.raises(SystemExit) as stopped:
        audit(audited, *option)
    assert stopped.value.code == 2
