"""Mistakes that a stranger makes and mends, and data that mislead: nothing is lost, mixed up or said wrongly."""

import json
import threading

import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from training.config import read_config
from training.cross_encoder import CrossEncoder
from training.data import queries
from training.experiments.steps import Steps
from training.label import needed_shards
from training.mining.shards import finish
from training.runs import open_run
from training.tables import Candidate, CandidateList, write_shard


@pytest.fixture
def edit(config_file):
    """Replaces text of the configuration, all of which must be there."""

    def change(*pairs: tuple[str, str]) -> None:
        text = config_file.read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        config_file.write_text(text)

    return change


def test_a_command_that_is_refused_leaves_the_configuration_of_a_run_at_work(
    command, config_file, data_folder, tmp_path, edit, capsys
):
    assert command("data") == 0
    with open_run(tmp_path / "run", read_config(config_file), data_folder).locked():
        before = (tmp_path / "run" / "config.json").read_bytes()
        edit(("layers = [0, 2]", "layers = [0, 1]"))
        assert command("mine") == 2
        assert "another process is at work" in capsys.readouterr().err
        assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_grade_off_the_scale_is_mended_in_the_file_or_in_the_configuration(command, data_folder, edit, capsys):
    path = data_folder / "judged.csv"
    good = path.read_text()
    bad = good.replace("acme charger,p0,2", "acme charger,p0,7", 1)
    path.write_text(bad)
    assert command("data") == 2
    assert "judged.csv, line 2" in capsys.readouterr().err
    path.write_text(good)
    assert command("data") == 0

    path.write_text(bad)  # now that a stage is finished, other data are another run's
    assert command("data") == 2
    assert "was made from other data" in capsys.readouterr().err


def test_a_grade_may_be_added_to_the_scale_after_it_was_refused(command, data_folder, edit):
    path = data_folder / "judged.csv"
    path.write_text(path.read_text().replace("acme charger,p0,2", "acme charger,p0,7", 1))
    assert command("data") == 2
    edit(('targets = { "0" = 0.0,', 'targets = { "0" = 0.0, "7" = 0.5,'))
    edit(('ndcg_gains = { "0" = 0.0,', 'ndcg_gains = { "0" = 0.0, "7" = 1.0,'))
    assert command("data") == 0


def test_two_sources_of_queries_with_one_name_are_refused(command, data_folder, edit, capsys):
    (data_folder / "more.csv").write_text("q\nzebra\n")
    more = '[[data.queries]]\nname = "NAME"\nfile = "more.csv"\nlicence = "x"\ncolumn = "q"\n\n[mining]\n'
    edit(("[mining]\n", more.replace("NAME", "queries")))
    assert command("data") == 2
    assert "data.queries: every source needs a name of its own" in capsys.readouterr().err


def test_both_of_two_sources_of_queries_are_read(command, data_folder, edit, run_of):
    (data_folder / "more.csv").write_text("q\nzebra\n")
    more = '[[data.queries]]\nname = "more"\nfile = "more.csv"\nlicence = "x"\ncolumn = "q"\n\n[mining]\n'
    edit(("[mining]\n", more))
    assert command("data") == 0
    found = list(queries(run_of()))
    assert found.count("zebra") == 1
    assert "black mouse" in found


def test_a_run_is_not_tested_on_queries_that_it_was_trained_on(command, edit, tmp_path, capsys):
    assert command("data") == 0
    edit(('split = "split"', "test_share = 0.9"))
    assert command("evaluate") == 2
    assert "evaluate with the run's configuration" in capsys.readouterr().err
    assert not (tmp_path / "run" / "evaluation-test.json").exists()


def test_shards_are_labelled_until_they_hold_the_lists_that_are_asked_for(command, edit, run_of):
    edit(('{ labels = "teacher", max_lists = 10,', '{ labels = "teacher", skip_lists = 1, max_lists = 3,'))
    assert command("data") == 0
    run = run_of()
    products = (Candidate({"title": "a"}, "x"), Candidate({"title": "b"}, "x"))
    for number, lists in enumerate(([0], [], [10, 11], [15], [20])):
        path = run.mined / f"{number:05d}.parquet"
        write_shard(path, [CandidateList(i, f"query {i}", products) for i in lists])
    finish(run, 25, 10)
    assert [path.stem for path in needed_shards(run)["teacher"]] == ["00000", "00001", "00002", "00003"]
    assert len(needed_shards(run)["similarity"]) == 5


def test_a_model_stored_in_half_precision_is_trained_in_single(tiny_encoder, config_file, tmp_path):
    half = BertForSequenceClassification.from_pretrained(tiny_encoder, num_labels=1, dtype=torch.float16)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "half")
    half.save_pretrained(tmp_path / "half")
    model = CrossEncoder.create(str(tmp_path / "half"), read_config(config_file).student.template, tmp_path / "work")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.logits([("mouse", {"title": "black mouse"})]).tolist() == [0.0]


def test_a_saved_checkpoint_keeps_its_own_tokenizer_for_whoever_opens_it(tiny_encoder, config_file, tmp_path):
    template = read_config(config_file).student.template
    model = CrossEncoder.create(str(tiny_encoder), template, tmp_path / "work")
    path = tmp_path / "work" / "tokenizer.json"
    cased = json.loads(path.read_text())
    cased["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(cased))
    model.save(tmp_path / "saved")
    opened = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert opened.tokenize("mouse Mouse")[0] == "mouse"
    assert opened.tokenize("mouse Mouse")[1:] != ["mouse"]
    assert (opened.pad_token, opened.cls_token, opened.sep_token) == ("[PAD]", "[CLS]", "[SEP]")
    again = CrossEncoder.create(str(tmp_path / "saved"), template, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "tokenizer.json").read_text())["normalizer"]["lowercase"] is False
    assert again.tokenizer.encode_query("Mouse").tolist() != again.tokenizer.encode_query("mouse").tolist()


def test_half_a_character_is_named_with_its_line(command, data_folder, edit, capsys):
    (data_folder / "queries.jsonl").write_text(
        '{"q": "red mouse"}\n{"q": "whole \\ud83d\\ude00"}\n{"q": "cut \\ud83d"}\n'
    )
    edit(('file = "queries.csv"', 'file = "queries.jsonl"'))
    assert command("data") == 2
    assert "queries.jsonl, line 3: holds half a character" in capsys.readouterr().err


def test_a_configuration_without_a_pool_has_nothing_to_mine(command, edit, capsys):
    quotas = "[mining.pools.shop]\nbm25 = 2\ndense = 2\nmiddle = 1\nrandom = 1\n"
    edit(('pool = "shop"\n', ""), (quotas, ""), ("lists_per_shard = 5\n", "lists_per_shard = 5\npools = {}\n"))
    assert command("mine") == 2
    assert "there is nothing to mine: mining.pools is empty" in capsys.readouterr().err


def test_a_step_at_which_another_process_works_is_waited_for(tmp_path):
    lines: list[str] = []
    begun, free = threading.Event(), threading.Event()

    def slow() -> dict[str, int]:
        begun.set()
        assert free.wait(60)
        return {"pairs": 3}

    def noted(line: str) -> None:
        lines.append(line)
        free.set()

    worker = threading.Thread(target=Steps(tmp_path, lambda _: None).once, args=("trial", slow))
    worker.start()
    assert begun.wait(60)
    found = Steps(tmp_path, noted).once("trial", dict)
    worker.join()
    assert found["pairs"] == 3
    assert lines == ["trial: another process is at work on it; waiting for it ..."]
