"""The whole pipeline on tiny data, through the command line."""

import gzip
import json
import re
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch

from training.config import read_config
from training.cross_encoder import CrossEncoder
from training.data import normalise_query, read_all_judgements
from training.errors import TrainingError
from training.evaluation.served import ServedScorer
from training.lineage import lineage
from training.mining import training_queries
from training.tables import read_lists, read_shard, shards
from training.teacher import Judged


def test_all_stages_run_in_order_and_a_second_time_do_nothing(command, run_of, capsys, monkeypatch):
    assert command("all") == 0
    run = run_of()
    student = CrossEncoder.read(run.student)
    assert student.model.config.num_hidden_layers == 2
    assert lineage(run).durations_s.keys() == {"data", "teacher", "mine", "label", "student"}
    assert [d.rows for d in lineage(run).data_sets] == [90, 72, 19]
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}

    assert command("all") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before

    capsys.readouterr()
    assert command("evaluate") == 0
    table = capsys.readouterr().out
    for name in ("word overlap (floor)", "cosine, untrained (floor)", "similarity (weak labels)", "teacher", "student"):
        assert name in table
    assert json.loads((run.folder / "evaluation-test.json").read_text())["word overlap (floor)"][0]["name"] == "nDCG@10"


def test_a_stage_out_of_order_says_what_to_run_first(command, capsys):
    assert command("label") == 2
    assert "run the stage `mine` first" in capsys.readouterr().err
    assert command("mine") == 0
    capsys.readouterr()
    assert command("student") == 2
    assert "run the stage `label` first" in capsys.readouterr().err
    assert command("label") == 2
    assert "run the stage `teacher` first" in capsys.readouterr().err


def test_a_run_of_another_configuration_is_not_mixed_up(command, config_file, capsys):
    assert command("mine") == 0
    config_file.write_text(config_file.read_text().replace("seed = 3", "seed = 4"))
    assert command("mine") == 2
    assert "holds a run of another configuration" in capsys.readouterr().err


def test_the_student_may_change_until_it_is_begun_and_its_labels_stay(command, config_file, run_of, capsys):
    assert command("label") == 2
    for stage in ("teacher", "mine", "label"):
        assert command(stage) == 0
    labels = {path: path.stat().st_mtime_ns for path in run_of().labelled("teacher").iterdir()}
    config_file.write_text(config_file.read_text().replace("layers = [0, 2]", "layers = [1]"))
    assert command("all") == 0
    assert CrossEncoder.read(run_of().student).model.config.num_hidden_layers == 1
    assert {path: path.stat().st_mtime_ns for path in labels} == labels

    config_file.write_text(config_file.read_text().replace("layers = [1]", "layers = [0, 1]"))
    capsys.readouterr()
    assert command("all") == 2
    assert f"move or delete {run_of().student} and {run_of().work('student')}" in capsys.readouterr().err


def test_a_student_may_start_from_layers_of_its_own_teacher(command, config_file, run_of):
    head, name, student = config_file.read_text().partition("[student]")
    lines = ['init = "teacher"' if line.startswith("init = ") else line for line in student.splitlines()]
    text = head + name + "\n".join(lines)
    config_file.write_text(re.sub(r"learning_rate = [\d.e-]+", "learning_rate = 1e-12", text))
    assert command("all") == 0
    teacher, student = (CrossEncoder.read(folder).model.bert for folder in (run_of().teacher, run_of().student))
    kept = student.encoder.layer[1].output.dense.weight
    assert torch.allclose(kept, teacher.encoder.layer[2].output.dense.weight, atol=1e-6)


def test_a_folder_that_is_no_run_is_left_alone(command, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    assert command("mine") == 2
    assert "is not empty and is no run" in capsys.readouterr().err


def test_test_queries_are_never_mined(command, run_of):
    assert command("mine") == 0
    run = run_of()
    judged = read_all_judgements(run.data, run.config.data)
    test = {normalise_query(pair.query) for pair in judged if pair.split == "test"}
    mined = {normalise_query(entry.query) for entry in read_lists(run.mined)}
    assert "globex mouse" in test
    assert not test & mined
    assert mined == {normalise_query(query) for query in training_queries(run, judged)}


def test_mining_is_the_same_every_time_and_lists_a_product_once(command, run_of):
    assert command("mine") == 0
    run = run_of()
    first = list(read_lists(run.mined))
    shutil.rmtree(run.mined)
    assert command("mine") == 0
    assert list(read_lists(run.mined)) == first
    for entry in first:
        titles = [candidate.product["title"] for candidate in entry.candidates]
        assert len(set(titles)) == len(titles) == 6


def test_a_damaged_shard_says_how_to_mend_it(command, run_of):
    assert command("mine") == 0
    path = shards(run_of().mined)[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="delete it and run its stage again"):
        read_shard(path)


def test_a_pair_scores_the_same_in_any_order_and_company(tiny_encoder, config_file, tmp_path):
    template = read_config(config_file).student.template
    model = CrossEncoder.create(str(tiny_encoder), template, tmp_path)
    for parameter in model.model.classifier.parameters():
        parameter.data.normal_()
    pairs = [("acme mouse", {"title": "black mouse " * (i % 7 + 1)}) for i in range(40)]
    together = model.logits(pairs)
    assert model.logits(pairs[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert [model.logits([pair])[0] for pair in pairs] == pytest.approx(together, abs=1e-5)
    assert len({round(float(x), 5) for x in together}) > 5


def test_layers_that_a_model_does_not_have_are_refused(tiny_encoder, config_file, tmp_path):
    template = read_config(config_file).student.template
    with pytest.raises(TrainingError, match=r"has 3 layers, the configuration picks \[0, 5\]"):
        CrossEncoder.create(str(tiny_encoder), template, tmp_path, layers=[0, 5])


def test_a_served_model_is_asked_query_by_query_and_answers_in_order():
    class Service(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            logits = [len(request["query"]) + len(product["title"]) for product in request["products"]]
            body = json.dumps({"model": {"name": "m", "version": "v7"}, "logits": logits, "complete": True}).encode()
            self.send_response(200 if self.headers["authorization"] == "Bearer k" else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        scorer = ServedScorer(url, "k")
        pairs = [("ab", {"title": "x"}), ("c", {"title": "yy"}), ("ab", {"title": "zzz"})]
        assert scorer(pairs).tolist() == [3, 3, 5]
        with pytest.raises(TrainingError, match="/score answered 401"):
            ServedScorer(url)(pairs)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with pytest.raises(TrainingError, match="is the service running"):
        ServedScorer(url)(pairs)


def test_a_shop_without_human_grades_trains_on_grades_from_attributes(
    command, run_of, config_file, data_folder, capsys
):
    path = data_folder / "products.csv.gz"
    header, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    typed = [f"{header},kind", *(f"{row},{row.split(',')[1].split()[1]}" for row in rows)]
    path.write_bytes(gzip.compress("\n".join(typed).encode()))
    text = config_file.read_text()
    start, end = text.index("[[data.judgements]]"), text.index("[[data.catalogues]]")
    text = text[:start] + text[end:]
    text = text.replace('color = "shade" }', 'color = "shade", product_type = "kind" }')
    text = text.replace("[mining.pools.shop]", 'weak_labels = { pool = "shop", queries = 40 }\n[mining.pools.shop]')
    config_file.write_text(text)

    assert command("all") == 0
    run = run_of()
    assert Judged.read(run).sources == ["weak:attributes"]
    assert CrossEncoder.read(run.student).model.config.num_hidden_layers == 2
    assert [(d.name, d.role) for d in lineage(run).data_sets if d.name == "weak:attributes"] == [
        ("weak:attributes", "grades made from the attributes of pool shop, for the teacher and the calibration")
    ]
    assert command("evaluate") == 2
    assert "nothing to measure in the split test" in capsys.readouterr().err
