"""The check of cuda-fp16 on a GPU: all of it but the GPU."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import ExportError
from export.__main__ import main
from export.cuda_reference import reference_run
from export.cuda_runtime import gpu_is_present
from export.gpu_bench import PACKED, PADDED, REPLAYED, Timing, bucket, contestants, table, time_all
from export.gpu_check import (
    Check,
    Report,
    Subject,
    machine,
    others_of,
    subject_of_artifact,
    subject_of_checkpoint,
    verify,
)
from export.runtime import EncodedPairs, logits_of, open_session

from .families import CASES
from .tiny import silent


@pytest.fixture(scope="module")
def subject(checkpoint_folder: Path) -> Subject:
    found = subject_of_checkpoint(checkpoint_folder, silent)
    assert len(found.pairs) == 1000
    return found


def test_checkpoints_that_the_graph_is_not_written_for_are_refused(tmp_path: Path) -> None:
    for folder in (CASES["distilbert"].write(tmp_path / "a"), CASES["bert"].write(tmp_path / "b", outputs=3)):
        with pytest.raises(ExportError, match="is written for BERT with one output"):
            subject_of_checkpoint(folder, silent)


class Some(EncodedPairs):
    """The first rows of other pairs."""

    def __init__(self, pairs: EncodedPairs, count: int) -> None:
        self._tokenizer, self._ids, self.lengths = pairs._tokenizer, pairs._ids[:count], pairs.lengths[:count]


@pytest.mark.skipif(gpu_is_present(), reason="ONNX Runtime for CUDA is installed")
def test_without_a_gpu_the_command_says_what_is_missing(checkpoint_folder, tmp_path, capsys):
    assert main(["gpu-check", str(checkpoint_folder), "--out", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "here has no CUDAExecutionProvider: install onnxruntime-gpu" in lines[-1]
    assert not (tmp_path / "out").exists()


def test_the_checks_pass_in_numbers_near_enough(subject):
    few = replace(subject, pairs=Some(subject.pairs, 24))
    run = logits_of(open_session(few.padded))
    others = {PADDED: lambda: run}
    checks = verify(replace(few, golden=few.pairs.logits(few.fp32)), run, others)
    assert [check.name for check in checks] == [
        "against fp32, 24 pairs",
        "alone, in batches, beside the longest, 24 pairs",
        "24 golden pairs",
        "padded, against fp32",
    ]
    assert all(check.passed for check in checks)
    assert 0 < checks[0].worst < 1e-2


def test_a_wrong_run_fails_and_one_that_stops_says_why(subject):
    few = replace(subject, pairs=Some(subject.pairs, 9))
    wrong = verify(few, lambda feeds: few.fp32(feeds) + 0.02)
    assert [check.passed for check in wrong] == [False, True]
    assert not any(check.passed for check in verify(few, lambda feeds: few.fp32(feeds) * np.nan))

    def stop(feeds):
        raise RuntimeError("out of memory")

    assert "FAILED: against fp32, 9 pairs: out of memory" in str(verify(few, stop)[0])


def test_an_artifact_without_both_variants_is_refused(exported):
    with pytest.raises(ExportError, match=r"expected a variant 'cuda-fp16'.*--variants cpu-fp32,cuda-fp16"):
        subject_of_artifact(exported)


def test_buckets_are_multiples_of_sixteen_up_to_the_longest():
    assert [bucket(length, 112) for length in (1, 16, 17, 64, 100, 112)] == [16, 16, 32, 64, 112, 112]


def test_an_artifacts_padded_graph_is_neither_compared_nor_timed(subject):
    assert others_of(subject).keys() == {PADDED, REPLAYED}
    assert not others_of(replace(subject, padded=None))
    assert contestants(b"", b"", 8, 64).keys() >= {PACKED, PADDED, REPLAYED}
    assert not {PADDED, REPLAYED} & contestants(b"", None, 8, 64).keys()


def test_one_contestant_that_fails_leaves_the_others_be(subject):
    def fail():
        raise RuntimeError("capture is not allowed")

    runs = {PADDED: lambda: logits_of(open_session(subject.padded)), REPLAYED: fail}
    padded, replayed = time_all(runs, 8, subject.vocab_size, subject.longest, rounds=3)
    assert 0 < padded.p50_ms <= padded.p99_ms
    assert (replayed.p50_ms, replayed.problem) == (None, "capture is not allowed")
    lines = table([padded, replayed])
    assert lines[-3:] == ["| 8 | padded, CUDA graph | failed | | |", "", f"{REPLAYED} failed: capture is not allowed"]


def test_the_report_is_written_as_json_and_markdown(tmp_path):
    checks = [Check("against fp32", 0.002), Check("golden pairs", 0.02)]
    report = Report(machine(), "tiny", checks, [Timing(64, PACKED, 2.0, 4.0)])
    assert not report.passed
    report.write(tmp_path / "out")
    read = json.loads((tmp_path / "out" / "gpu-check.json").read_text())
    assert read["timings"][0]["p50_ms"] == 2
    assert read["machine"]["ONNX Runtime"]
    text = (tmp_path / "out" / "gpu-check.md").read_text()
    assert "- passed: against fp32: 0.002 (limit 0.01)" in text
    assert "- FAILED: golden pairs: 0.02 (limit 0.01)" in text
    assert "| 64 | packed | 2.00 | 4.00 | 32,000 |" in text
    assert "- providers: " in text


def test_the_packed_graph_of_a_checkpoint_is_the_one_that_is_exported(subject):
    few = Some(subject.pairs, 8)
    run = reference_run(onnx.load_model_from_string(subject.packed))
    np.testing.assert_allclose(few.logits(run), few.logits(subject.fp32), atol=1e-2)
