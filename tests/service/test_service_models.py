"""Several models in one process, chosen by the request."""

import builtins
import io
import os
from pathlib import Path

import pytest

from artifact.loading import read_manifest
from service.__main__ import main
from service.registry import ModelNameError, Source, read_sources
from service.settings import Settings

from .serving import FakeEngine, loader_of, running

TITLES = ("usb cable", "red watch band", "garden hose")


@pytest.fixture(scope="module")
def logits_alone(tiny_artifact, other_artifact):
    """Version -> the logits that a server of that artifact alone gives to TITLES."""
    alone = {}
    for folder in (tiny_artifact, other_artifact):
        with running(folder) as service:
            alone[read_manifest(folder).version] = service.score(*TITLES).json()["logits"]
    first, second = alone.values()
    assert min(abs(a - b) for a, b in zip(first, second, strict=True)) > 0.01
    return alone


def test_a_request_chooses_its_model_and_null_is_the_default(serve, tiny_artifact, other_artifact, logits_alone):
    service = serve(models=f"{other_artifact}", score_cache_bytes=1_000_000)
    # Twice: from the model, then from its own caches.
    for _ in range(2):
        for asked, folder in ((None, tiny_artifact), ("tiny", tiny_artifact), ("other", other_artifact)):
            answer = service.score(*TITLES, model=asked)
            manifest = read_manifest(folder)
            assert answer.json()["model"] == {"name": manifest.name, "version": manifest.version}
            assert answer.headers["x-model-version"] == manifest.version
            assert answer.json()["logits"] == pytest.approx(logits_alone[manifest.version], abs=1e-4)
    assert service.metric("cache_lookups_total", cache="score", result="miss") == 2 * len(TITLES)


def test_models_lists_all_with_the_default_first(serve, other_artifact):
    service = serve(models=f"candidate={other_artifact}")
    first, second = service.client.get("/models").json()["models"]
    assert (first["name"], first["manifest_name"], first["default"]) == ("tiny", "tiny", True)
    assert (second["name"], second["manifest_name"], second["default"]) == ("candidate", "other", False)
    assert second["version"] == read_manifest(other_artifact).version
    for each in (first, second):
        labels = {"architecture": "cross-encoder", "variant": "cpu-int8", "precision": "int8"}
        assert service.metric("model_info", name=each["name"], version=each["version"], **labels) == 1
        assert service.metric("predicted_micro_batch_seconds", model=each["name"]) > 0


def test_all_models_share_the_lanes(serve, other_artifact):
    service = serve(models=f"{other_artifact}", lanes=1)
    assert service.metric("lanes") == 1
    assert service.score("usb").status_code == service.score("usb", model="other").status_code == 200


def test_a_name_that_the_settings_give_is_the_only_one(serve, other_artifact):
    service = serve(models=f"candidate={other_artifact}")
    assert service.score("usb", model="candidate").json()["model"]["name"] == "candidate"
    answer = service.score("usb", model="other")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "expected a loaded model, such as 'tiny'; see GET /models"


def test_no_model_name_is_ever_opened_as_a_path(serve, other_artifact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").symlink_to(other_artifact)
    names = [
        *("plain", "./plain", "plain/", "../other", "..", ".", "/", "", "~", "tiny/../plain", "file:///etc/passwd"),
        *(str(other_artifact), f"x={other_artifact}", f"{other_artifact}/manifest.json", "tiny\x00", "TINY", " tiny"),
        *("models/default", "%2e%2e", "..\\plain", "a" * 100_000),
    ]
    service = serve(load=loader_of(FakeEngine()))
    opened: list[str] = []

    def noting(function):
        def noted(path=".", *arguments, **named):
            if isinstance(path, str | bytes | Path):
                opened.append(str(path))
            return function(path, *arguments, **named)

        return noted

    # Not an audit hook: none can be taken away again, and under coverage it makes threads of later tests fail to start.
    for module, function in ((builtins, "open"), (io, "open"), (os, "open"), (os, "listdir"), (os, "scandir")):
        monkeypatch.setattr(module, function, noting(getattr(module, function)))
    (tmp_path / "control").write_text("this is seen")
    assert list(tmp_path.iterdir())
    assert opened == [str(tmp_path / "control"), str(tmp_path)]
    opened.clear()
    for name in names:
        answer = service.score("1", model=name)
        assert answer.status_code == 404, name
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 1000
    assert not opened
    monkeypatch.undo()
    assert service.score("1", model="tiny").status_code == 200


def test_names_come_from_the_settings_or_the_manifest(tiny_artifact, other_artifact):
    settings = Settings(model_dir=tiny_artifact, models=f"{other_artifact}, second.v1={other_artifact},")
    assert read_sources(settings) == [
        Source("tiny", tiny_artifact),
        Source("other", other_artifact),
        Source("second.v1", other_artifact),
    ]


def test_a_folder_with_an_equals_sign_in_a_parent_is_a_folder(tiny_artifact, other_artifact, tmp_path):
    folder = tmp_path / "seed=1"
    folder.symlink_to(other_artifact)
    settings = Settings(model_dir=tiny_artifact, models=str(folder))
    assert read_sources(settings)[1] == Source("other", folder)


@pytest.mark.usefixtures("_process_as_it_was")
@pytest.mark.parametrize("models", ["{tiny}", "tiny={other}", "{other},other={other}", "a={other},a={tiny}"])
def test_two_models_of_one_name_are_refused_at_the_start(tiny_artifact, other_artifact, models, capfd):
    given = models.format(tiny=tiny_artifact, other=other_artifact)
    with pytest.raises(ModelNameError, match=r"two models are named '(tiny|other|a)', in .* and in "):
        read_sources(Settings(model_dir=tiny_artifact, models=given))
    assert main(["--model-dir", str(tiny_artifact), "--models", given, "--port", "0"]) == 1
    assert "cannot serve: two models are named" in capfd.readouterr().err


@pytest.mark.usefixtures("_process_as_it_was")
def test_a_second_model_that_cannot_be_loaded_is_no_service_at_all(tiny_artifact, tmp_path, capfd):
    assert main(["--model-dir", str(tiny_artifact), "--models", f"b={tmp_path / 'nowhere'}", "--port", "0"]) == 1
    assert f"{tmp_path / 'nowhere'}: expected an artifact folder" in capfd.readouterr().err


@pytest.mark.parametrize("shadow", ["tiny", "nobody"])
def test_the_shadow_is_one_of_the_other_models(tiny_artifact, other_artifact, shadow):
    settings = Settings(model_dir=tiny_artifact, models=str(other_artifact), shadow_model=shadow)
    with pytest.raises(ModelNameError, match=f"shadow_model '{shadow}': expected the name of one of `models`, other"):
        read_sources(settings)
