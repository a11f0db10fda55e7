"""`python -m service drift-report`."""

import json
from pathlib import Path

import pytest

from artifact.loading import read_manifest
from service.__main__ import main
from service.drift.references import DriftReferenceError, read_saved
from service.runtime import Runtime

from .drifting import Watching, model_of, without_references
from .test_service_drift import DEFAULT, Traffic, told

VERSION = read_manifest(DEFAULT).version


@pytest.fixture(scope="module")
def default():
    return without_references(model_of(DEFAULT))


@pytest.fixture(scope="module")
def baseline(default):
    """The metrics after 1,500 requests, without a reference."""
    return told(Watching(default, name="default"), Traffic(0), 1500).text()


@pytest.fixture(scope="module")
def saved(baseline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    (folder / "metrics").write_text(baseline)
    assert report(folder / "metrics", "--save-reference", folder / "reference.json") == 0
    return folder / "reference.json"


@pytest.fixture
def watched(default, saved, tmp_path):
    """The metrics after so much traffic, with the saved reference, in a file."""

    def make(traffic, requests=600):
        path = tmp_path / "metrics"
        path.write_text(told(Watching(default, read_saved(saved), name="default"), traffic, requests).text())
        return path

    return make


def report(path, *options):
    return main(["drift-report", "--file", str(path), *map(str, options)])


def rows(text):
    """Signal -> what stands behind it."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ") and "." in line}


def test_the_table_says_of_every_signal_what_it_is(watched, capsys):
    path = watched(Traffic(1, mean_words=4))
    assert report(path) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"default {VERSION}: ")
    found = rows(text)
    assert found["query_tokens"][2:] == ["saved", "shifted"]
    assert found["product_tokens"][2:] == ["saved", "stable"]
    assert float(found["query_tokens"][0]) > 0.25 > 0.1 > float(found["product_tokens"][0])


def test_without_a_reference_it_says_so(baseline, tmp_path, capsys):
    (tmp_path / "metrics").write_text(baseline)
    assert report(tmp_path / "metrics") == 0
    assert "no reference" in capsys.readouterr().out


def test_with_little_traffic_it_says_so(watched, capsys):
    path = watched(Traffic(1), requests=10)
    assert report(path) == 0
    assert "too few inputs" in capsys.readouterr().out
    # A gate that saw nothing does not pass.
    assert report(path, "--fail-above", "0.25") == 1
    assert "nothing to judge yet: default" in capsys.readouterr().err


def test_it_fails_where_a_signal_is_above_the_limit(watched, capsys):
    path = watched(Traffic(2, mean_words=4))
    assert report(path, "--fail-above", "0.25") == 1
    assert "above 0.25: default query_tokens" in capsys.readouterr().err
    assert report(path, "--fail-above", "50") == 0


def test_it_does_not_fail_without_drift(watched):
    assert report(watched(Traffic(3)), "--fail-above", "0.1") == 0


def test_for_programs_it_is_json(watched, capsys):
    path = watched(Traffic(4))
    capsys.readouterr()
    assert report(path, "--json") == 0
    found = json.loads(capsys.readouterr().out)["default"]
    assert found["version"] == VERSION
    assert found["signals"]["score"]["verdict"] == "stable"
    assert found["signals"]["score"]["reference"] == "saved"


def test_it_asks_a_running_service(serve, capsys, tmp_path):
    service = serve()
    assert service.score("usb cable", "garden hose").status_code == 200
    service.wait_until(lambda: service.metric("drift_window_products", model="tiny") == 2)
    assert main(["drift-report", "--url", f"http://127.0.0.1:{service.port}"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["drift-report", "--url", f"http://127.0.0.1:{service.port}/metrics", "--model", "none"]) == 2
    path = tmp_path / "reference.json"
    assert main(["drift-report", "--url", f"http://127.0.0.1:{service.port}", "--save-reference", str(path)]) == 2
    assert "nothing was saved" in capsys.readouterr().err
    assert not path.exists()


def test_what_was_saved_is_what_the_window_had(saved, baseline):
    found = read_saved(saved)
    assert found.taken
    model = found.models["default"]
    assert model.version == VERSION
    score = model.signals["score"]
    assert f'signal="score"}} {float(score.counts[0])}' in baseline
    assert 1000 < score.worth < 0.9 * score.inputs


def test_a_service_reads_what_was_saved(serve, saved):
    service = serve(drift_reference=saved)
    assert service.runtime.drift is not None
    assert isinstance(service.runtime, Runtime)


def test_a_service_does_not_start_with_a_reference_that_it_cannot_read(serve, tmp_path):
    path = tmp_path / "reference.json"
    path.write_text('{"format": 1, "taken": "today", "models": {"tiny": {"version": "1"}}}')
    service = serve(drift_reference=path, ready=False)
    answer = service.client.get("/health/ready")
    assert "models.tiny.signals" in answer.json()["detail"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 2, "taken": "", "models": {}}', "\0"])
def test_a_file_that_is_no_reference_is_refused(tmp_path, content):
    path = tmp_path / "reference.json"
    path.write_text(content)
    with pytest.raises(DriftReferenceError, match="not a drift reference"):
        read_saved(path)
    with pytest.raises(DriftReferenceError, match="cannot read"):
        read_saved(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--file", "/nowhere/metrics"], "No such file"),
        (["--url", "file:///etc/passwd"], "expected an address"),
        (["--url", "http://127.0.0.1:1"], "refused"),
        (["--file", str(Path(__file__))], "no model with drift metrics"),
    ],
)
def test_what_cannot_be_read_is_told(options, complaint, capsys):
    assert main(["drift-report", *options]) == 2
    assert complaint in capsys.readouterr().err


def test_metrics_that_are_damaged_are_told(tmp_path, capsys):
    (tmp_path / "metrics").write_text('shelfscore_drift_psi{model="a"} 0.1\n')
    assert report(tmp_path / "metrics") == 2
    assert "not the metrics" in capsys.readouterr().err


def test_help_is_about_the_report_and_the_settings_have_their_own(capsys):
    for arguments, wanted, other in (
        (["drift-report", "--help"], "--fail-above", "--max-products"),
        (["--help"], "--max-products", "--fail-above"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        assert exit_info.value.code == 0
        text = capsys.readouterr().out
        assert wanted in text
        assert other not in text


def test_what_is_too_little_to_judge_by_is_not_saved(default, tmp_path, capsys):
    (tmp_path / "metrics").write_text(told(Watching(default, name="default"), Traffic(5), 100).text())
    assert report(tmp_path / "metrics", "--save-reference", tmp_path / "reference.json") == 0
    assert "left out, with too few inputs to judge by: query_tokens," in capsys.readouterr().err
    signals = read_saved(tmp_path / "reference.json").models["default"].signals
    assert "score" in signals
    assert "query_tokens" not in signals
