"""Figures, segments, raters and paired comparisons of models on judged pairs."""

import csv

import numpy as np
import pytest

from artifact.calibration import Calibration
from training.config import Data
from training.config.evaluation import Evaluation
from training.data import JudgedPair
from training.errors import TrainingError
from training.evaluation import ModelScores, compare, evaluate, measure
from training.evaluation.compare import compare_queries, resolvable
from training.evaluation.groups import group
from training.evaluation.raters import rater_ceiling, read_rater_ceiling
from training.evaluation.segments import by_segment, segment_labels
from training.evaluation.sources import gain_mapping, sources_of

SETTINGS = Evaluation(resamples=400, permutations=499, segment_queries=5)
DATA = Data.model_validate(
    {
        "judgements": [
            {
                "name": "shop",
                "file": "judged.csv",
                "licence": "CC0-1.0",
                "grade": "grade",
                "targets": {"0": 0.0, "1": 0.5, "2": 1.0},
                "ndcg_gains": {"0": 0.0, "1": 1.0, "2": 3.0},
                "auc": [[["2"], ["0"]]],
                "columns": {"title": "title"},
                "split": "split",
            }
        ]
    }
)


def pairs_of(queries, grades="0120", category=""):
    return [
        JudgedPair(q, {"title": f"{q} {g}", "product_type": category}, g, int(g) / 2, "shop", "test")
        for q in queries
        for g in grades
    ]


def source_of(pairs):
    return sources_of(pairs, DATA, "test")[0]


def names(found):
    return {entry.name: entry for entry in found}


def test_a_model_that_knows_the_grades_is_perfect_and_its_reverse_is_not():
    pairs = pairs_of([f"q{i}" for i in range(20)])
    source = source_of(pairs)
    found = names(measure(source, ModelScores(8 * source.targets - 4, Calibration()), SETTINGS))
    assert set(found) == {"nDCG@10", "MRR", "AUC 2 against 0", "AUC of all pairs, target >= 1", "ECE"}
    assert {found[name].value for name in found if name != "ECE"} == {1.0}
    low = 1 / (1 + np.exp(4))
    assert found["ECE"].value == pytest.approx(low * 3 / 4)
    reverse = names(measure(source, ModelScores(-source.targets), SETTINGS))
    assert "ECE" not in reverse
    assert reverse["MRR"].value == 0.25
    assert reverse["AUC 2 against 0"].value == 0.0


def test_a_platt_calibration_changes_the_calibration_error_alone():
    pairs = pairs_of([f"q{i}" for i in range(20)])
    source = source_of(pairs)
    logits = np.random.default_rng(0).normal(size=len(pairs))
    plain = names(measure(source, ModelScores(logits, Calibration()), SETTINGS))
    shifted = names(measure(source, ModelScores(logits, Calibration(slope=0.5, intercept=2)), SETTINGS))
    assert {name for name in plain if plain[name] != shifted[name]} == {"ECE"}


def test_one_global_threshold_is_worth_less_where_queries_have_scales_of_their_own():
    pairs = pairs_of(["a", "b"], "02")
    source = source_of(pairs)
    found = names(measure(source, ModelScores(np.asarray([0.0, 1.0, 5.0, 6.0])), SETTINGS))
    assert found["nDCG@10"].value == 1.0
    assert found["AUC 2 against 0"].value == 0.75


def test_an_auc_of_all_pairs_that_the_source_names_is_not_given_twice():
    pairs = pairs_of(["a", "b"])
    source = source_of(pairs)
    named = source.settings.model_copy(update={"auc": ((("2",), ("1", "0")),)})
    sources = sources_of(pairs, DATA.model_copy(update={"judgements": (named,)}), "test")
    assert [e.name for e in measure(sources[0], ModelScores(source.targets), SETTINGS)] == [
        "nDCG@10",
        "MRR",
        "AUC 2 against 1+0",
    ]


def test_queries_of_one_grade_alone_have_nothing_to_measure():
    pairs = pairs_of(["a", "b"], "22")
    assert evaluate(lambda texts: np.arange(len(texts)), pairs, DATA) == []
    mixed = pairs + pairs_of(["c"], "02")
    assert [e.size for e in evaluate(lambda texts: np.arange(len(texts)), mixed, DATA)] == [1, 6]


def test_evaluate_gives_what_the_source_asks_for_on_its_split_alone():
    pairs = [*pairs_of(["a"]), JudgedPair("t", {"title": "t"}, "2", 1.0, "shop", "train")]
    found = evaluate(lambda texts: [float(product["title"][-1]) for _, product in texts], pairs, DATA, "test", SETTINGS)
    assert [(e.name, e.value, e.size, e.split) for e in found] == [
        ("nDCG@10", 1.0, 1, "test"),
        ("AUC 2 against 0", 1.0, 3, "test"),
    ]


@pytest.mark.parametrize(("scores", "said"), [([np.nan] * 4, "not finite"), ([1.0], "one score for each of 4 pairs")])
def test_scores_that_are_no_scores_are_refused(scores, said):
    with pytest.raises(ValueError, match=said):
        evaluate(lambda _: scores, pairs_of(["a"]), DATA)


def test_a_constructed_difference_is_significant_and_noise_is_not():
    pairs = pairs_of([f"q{i}" for i in range(60)], "012010")
    source = source_of(pairs)
    random = np.random.default_rng(5)
    truth = source.targets
    good, bad = truth + random.normal(size=len(pairs)) * 0.3, truth + random.normal(size=len(pairs)) * 3
    for found in compare(source, ModelScores(good), ModelScores(bad), SETTINGS):
        assert found.significant
        assert 0 < found.low < found.value < found.high
        assert found.resolvable < found.value
    same = truth + random.normal(size=len(pairs)) * 1.5
    other = truth + random.normal(size=len(pairs)) * 1.5
    for found in compare(source, ModelScores(same), ModelScores(other), SETTINGS):
        assert not found.significant
        assert found.low < 0 < found.high


def test_a_model_does_not_differ_from_itself():
    source = source_of(pairs_of(["a", "b", "c"]))
    scores = ModelScores(source.targets)
    for found in compare(source, scores, scores, SETTINGS):
        assert (found.value, found.low, found.high, found.p, found.resolvable) == (0, 0, 0, 1, 0)


def test_a_comparison_is_the_same_every_time():
    source = source_of(pairs_of([f"q{i}" for i in range(8)]))
    random = np.random.default_rng(2)
    a, b = (ModelScores(random.normal(size=len(source.targets))) for _ in range(2))
    assert compare(source, a, b, SETTINGS) == compare(source, a, b, SETTINGS)


def test_the_permutation_test_is_exact_for_few_queries():
    source = source_of(pairs_of(["a"]))
    found = compare_queries("d", np.asarray([0.1, 0.2, 0.3]), source, SETTINGS)
    assert found.p == pytest.approx(2 / 8)


def test_false_alarms_are_as_rare_as_promised():
    source = source_of(pairs_of(["a"]))
    random = np.random.default_rng(11)
    quick = Evaluation(resamples=100, permutations=199)
    alarms = [compare_queries("d", random.normal(size=30), source, quick).significant for _ in range(200)]
    assert np.mean(alarms) < 0.1


def test_the_smallest_visible_difference_is_found_four_times_in_five():
    source = source_of(pairs_of(["a"]))
    random = np.random.default_rng(12)
    effect = resolvable(1 / np.sqrt(50))
    quick = Evaluation(resamples=100, permutations=199)
    seen = [compare_queries("d", effect + random.normal(size=50), source, quick).significant for _ in range(200)]
    assert 0.7 < np.mean(seen) < 0.9


def test_segments_are_by_length_head_and_category():
    pairs = [
        *pairs_of(["mouse", "lamp"], "02", "small"),
        *pairs_of(["usb cable", "desk lamp black steel"], "0202", "cable"),
    ]
    labels = segment_labels(source_of(pairs), pairs, SETTINGS)
    assert labels["query length"].tolist() == ["1 word", "1 word", "2 words", "3 words or more"]
    assert labels["judged products"].tolist() == ["tail", "tail", "head", "head"]
    assert labels["category"].tolist() == ["small", "small", "cable", "cable"]


def test_segments_that_tell_nothing_apart_are_left_out():
    pairs = pairs_of(["mouse", "lamp"])
    assert segment_labels(source_of(pairs), pairs, SETTINGS).keys() == {"query length"}


def test_rare_categories_are_one_segment():
    pairs = [pair for i in range(4) for pair in pairs_of([f"q{i}"], "02", f"kind {min(i, 2)}")]
    labels = segment_labels(source_of(pairs), pairs, Evaluation(categories=1))
    assert labels["category"].tolist() == ["other", "other", "kind 2", "kind 2"]


def test_a_segment_with_few_queries_gives_no_figure():
    pairs = pairs_of([f"q{i}" for i in range(5)] + [f"two {i}" for i in range(4)])
    source = source_of(pairs)
    figures = {figure.segment: figure for figure in by_segment(source, pairs, source.targets, SETTINGS)}
    assert figures["1 word"].size == 5
    assert figures["1 word"].estimate.value == 1.0
    assert (figures["2 words"].size, figures["2 words"].estimate) == (4, None)


def test_a_rater_is_ranked_against_the_mean_of_those_who_judged_the_pair():
    queries = group(["a", "a", "b", "b"])
    gains = np.asarray([[3.0, 3.0, 1.0], [0.0, 0.0, 0.0], [0.0, 3.0, 3.0], [3.0, 0.0, np.nan]])
    found = rater_ceiling(queries, gains, ("x", "y", "z"), "shop", "test", SETTINGS)
    assert [e.name for e in found] == ["nDCG@10 of x", "nDCG@10 of y", "nDCG@10 of z", "nDCG@10 of the mean rater"]
    reversed_b = 1 / np.log2(3)
    assert found[0].value == pytest.approx((1 + reversed_b) / 2)
    # Of b, y is compared with (0 + 3) / 2 and 3: its order is the reverse; z judged one product of b alone.
    assert found[1].value == pytest.approx((1 + (1.5 + 3 / np.log2(3)) / (3 + 1.5 / np.log2(3))) / 2)
    assert (found[2].value, found[2].size) == (1.0, 1)


def test_raters_are_read_from_the_judgement_file(tmp_path):
    rows = [
        {"query": "a", "split": "test", "r1": "2", "r2": "2"},
        {"query": "a", "split": "test", "r1": "0", "r2": ""},
        {"query": "a", "split": "test", "r1": "0", "r2": "1"},
        {"query": "t", "split": "train", "r1": "0", "r2": "2"},
    ]
    with (tmp_path / "judged.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    source = DATA.judgements[0]
    found = read_rater_ceiling(tmp_path, source, ("r1", "r2"), "test", SETTINGS)
    assert [e.value for e in found] == [1.0, 1.0, 1.0]
    (tmp_path / "judged.csv").write_text("query,split,r1,r2\na,test,2,9\n")
    with pytest.raises(TrainingError, match=r"judged\.csv, line 2: r2: grade '9' is not one of \['0', '1', '2'\]"):
        read_rater_ceiling(tmp_path, source, ("r1", "r2"), "test", SETTINGS)


def test_raters_are_read_from_the_rows_that_the_source_takes(tmp_path):
    rows = ["uk;a;test;2;2", "uk;a;test;0;0", "de;a;test;2;0", "de;a;test;0;2"]
    (tmp_path / "judged.csv").write_text("\n".join(["market;query;split;r1;r2", *rows]) + "\n")
    source = DATA.judgements[0].model_copy(update={"where": {"market": "uk"}, "delimiter": ";"})
    found = read_rater_ceiling(tmp_path, source, ("r1", "r2"), "test", SETTINGS)
    assert [(e.value, e.size) for e in found] == [(1.0, 1)] * 3


def test_gains_are_said_in_words():
    assert gain_mapping({"I": 0.0, "E": 1.5}) == "gains I → 0, E → 1.5"
