import pytest
from pydantic import ValidationError

from service.settings import Settings, prepare_libraries, settings_from_command_line, unknown_variables


def test_the_defaults_are_those_of_the_contract():
    settings = Settings()
    assert (settings.host, settings.port, str(settings.model_dir)) == ("127.0.0.1", 8080, "models/default")
    assert (settings.max_timeout_ms, settings.max_products, settings.max_body_bytes) == (1000, 1000, 2 * 1024 * 1024)
    assert (settings.device, settings.log_format, settings.api_keys) == ("cpu", "text", ())


def test_the_environment_sets_options(monkeypatch):
    monkeypatch.setenv("SHELFSCORE_MAX_PRODUCTS", "7")
    monkeypatch.setenv("SHELFSCORE_API_KEYS", " one, two ,")
    settings = Settings()
    assert settings.max_products == 7
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]


def test_the_command_line_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("SHELFSCORE_PORT", "1111")
    assert settings_from_command_line(["--port", "2222"]).port == 2222
    assert settings_from_command_line([]).port == 1111


def test_every_setting_is_an_option_that_help_documents_with_its_default(capsys):
    with pytest.raises(SystemExit) as exit_info:
        settings_from_command_line(["--help"])
    assert exit_info.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description
        assert f"(default: {field.default})" in text


def test_an_unknown_option_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_info:
        settings_from_command_line(["--colour", "red"])
    assert exit_info.value.code == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"lanes": 0},
        {"max_products": 0},
        {"device": "tpu"},
        {"api_keys": "clé"},
        {"max_backlog_ms": 0},
    ],
)
def test_values_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_variables_that_no_setting_knows_are_named_with_what_they_may_have_meant():
    environment = {
        "SHELFSCORE_MAX_PRODUCT": "7",
        "SHELFSCORE_COLOUR": "red",
        "SHELFSCORE_PORT": "1",
        "shelfscore_lanes": "1",
        "PATH": "/bin",
    }
    assert unknown_variables(environment) == [
        "SHELFSCORE_COLOUR",
        "SHELFSCORE_MAX_PRODUCT (did you mean SHELFSCORE_MAX_PRODUCTS?)",
    ]


def test_keys_are_not_printed():
    assert "hunter2" not in repr(Settings(api_keys=("hunter2",)))


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_library_threads_are_pinned_unless_the_user_chose(monkeypatch):
    import os

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "")
    monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    prepare_libraries()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("name", ["audit_dir", "drift_reference", "states", "trace_endpoint"])
def test_an_optional_setting_that_is_left_empty_is_off(name, monkeypatch):
    monkeypatch.setenv(f"SHELFSCORE_{name.upper()}", "")
    assert getattr(Settings(), name) is None


def test_a_file_of_keys_that_is_left_empty_does_not_open_the_service(monkeypatch):
    monkeypatch.setenv("SHELFSCORE_API_KEYS_FILE", "")
    with pytest.raises(ValidationError):
        Settings()
