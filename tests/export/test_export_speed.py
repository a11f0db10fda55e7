"""What the speed and profile commands count; how fast anything is, no test asks."""

from pathlib import Path

import numpy as np
import pytest

from export import ExportError
from export.__main__ import main
from export.bert import BertShape
from export.bound import Product, passes, products
from export.profile import profile
from export.speed import BOUND, LANES, PEER, Speed
from export.timing import in_turn
from export.workload import Lanes, Workload


def test_contestants_take_turns():
    calls: list[str] = []
    seconds = in_turn({name: lambda name=name: calls.append(name) for name in ("a", "b")}, rounds=3, warm_up=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3}


def test_the_workload_holds_every_pair_once_sorted_or_as_asked():
    work = Workload.of(64, vocab_size=5000)
    assert (work.lengths.min() >= 16, work.lengths.max() <= 64, 34 < work.lengths.mean() < 38) == (True, True, True)
    micro = work.micro_batches(8)
    lengths = np.concatenate([batch["attention_mask"].sum(axis=1) for batch in micro])
    assert lengths.tolist() == sorted(work.lengths.tolist(), reverse=True)
    in_order = np.concatenate([batch["attention_mask"].sum(axis=1) for batch in work.batches(30)])
    assert in_order.tolist() == work.lengths.tolist()
    assert all(batch["input_ids"].max() < 5000 for batch in micro)
    assert all((batch["input_ids"] > 0).astype(int).tolist() == batch["attention_mask"].tolist() for batch in micro)


def test_lanes_do_all_the_work_once():
    done: list[int] = []
    Lanes(3).run(lambda feeds: done.append(int(feeds["input_ids"].size)), Workload.of(20, 99).micro_batches(4))
    assert len(done) == 5


def test_the_bound_counts_the_last_layer_for_cls_alone():
    width, intermediate, tokens, pairs = 384, 1536, 288, 8
    found = products(BertShape(2, width, 12, 1e-12, width), intermediate, tokens, pairs)
    layer = tokens * (4 * width * width + 2 * width * intermediate)
    last = tokens * 2 * width * width + pairs * (2 * width * width + 2 * width * intermediate)
    assert sum(product.operations for product in found) == 2 * (layer + last)


def test_the_bound_runs_its_products():
    run = passes([Product(6, 16, 8), Product(6, 16, 8), Product(3, 8, 4)], micro_batches=3, lanes=2)
    run()


def test_ratios_are_taken_round_by_round():
    seconds = {LANES: [1.0, 2.0], PEER: [2.0, 4.0], BOUND: [0.5, 1.0]}
    text = str(Speed(64, 100, 110, 2, 6, seconds, 40.0))
    assert "2.00 (2.00 to 2.00) times the pairs/s" in text
    assert "0.50 (0.50 to 0.50) of the bound" in text
    assert "| int8 in lanes | 1500.0 |" in text


def test_a_profile_accounts_for_every_operator_of_the_graph(exported: Path):
    found = profile(exported, None, pairs=16)
    assert found.variant == "cpu-int8"
    calls = {name: calls for name, (_, calls) in found.operators.items()}
    assert calls["MatMulIntegerToFloat"] == 2 * 12
    assert calls["Attention"] == 2 * 2
    assert found.padded_tokens >= found.tokens
    text = str(found)
    assert "| MatMulIntegerToFloat |" in text
    assert "| products with weights |" in text


def test_profiling_what_is_not_there_is_refused(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ExportError, match="expected a variant cpu-bf16 for CPU; it has cpu-fp32, cpu-int8"):
        profile(exported, "cpu-bf16", pairs=8)
    assert main(["profile", str(tmp_path / "nothing")]) == 1
    assert "expected an artifact folder" in capsys.readouterr().err
    assert main(["profile", str(exported), "--pairs", "9"]) == 0
    assert "in operators" in capsys.readouterr().out
