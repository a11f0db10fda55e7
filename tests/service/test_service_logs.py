import json
import logging
import os
import sys
from pathlib import Path

import pytest

from service.context import current_request_id
from service.errors import InternalError
from service.logs import JsonFormatter, TextFormatter, UnhurriedHandler, configure_logging
from service.planted.engine import PlantedModelError


@pytest.fixture
def record():
    def make(message="request", fields=None, exc_info=None):
        made = logging.LogRecord("service.access", logging.INFO, "x.py", 1, message, (), exc_info)
        if fields is not None:
            made.fields = fields
        return made

    return make


def test_json_is_one_object_per_line_with_the_request_id(record):
    token = current_request_id.set("r-1")
    try:
        line = JsonFormatter().format(record(fields={"status": 200, "path": "/a\nb", "odd": float("nan")}))
    finally:
        current_request_id.reset(token)
    assert "\n" not in line
    event = json.loads(line)
    assert event["request_id"] == "r-1"
    assert (event["level"], event["message"], event["status"], event["path"]) == ("INFO", "request", 200, "/a\nb")


def test_text_quotes_what_could_pass_for_another_field_or_line(record):
    line = TextFormatter().format(record(fields={"path": "/x status=200\nINFO", "status": 404, "empty": ""}))
    assert "\n" not in line
    assert line.endswith(r'path="/x status=200\nINFO" status=404 empty=""')


def test_exceptions_are_in_both(record):
    try:
        raise ValueError("the cause")
    except ValueError:
        made = record(exc_info=sys.exc_info())
    assert "the cause" in json.loads(JsonFormatter(texts=True).format(made))["exception"]
    assert TextFormatter(texts=True).format(made).splitlines()[-1] == "ValueError: the cause"
    assert "test_service_logs.py" in json.loads(JsonFormatter().format(made))["exception"]
    assert TextFormatter().format(made).splitlines()[-1].startswith("ValueError: (withheld")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (OSError(28, "No space left on device", "file"), "OSError: [Errno 28] No space left on device: 'file'"),
        (InternalError("the model could not"), "service.errors.InternalError: the model could not"),
        (PlantedModelError("planted"), "service.planted.engine.PlantedModelError: planted"),
    ],
)
def test_messages_that_quote_no_request_are_shown(record, error, shown):
    made = record(exc_info=(type(error), error, None))
    assert TextFormatter().format(made).splitlines()[-1] == shown


def test_an_error_of_no_request_is_shown_whole(record):
    made = record(exc_info=(ValueError, ValueError("the cause"), None))
    made.of_no_request = True
    assert TextFormatter().format(made).splitlines()[-1] == "ValueError: the cause"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_configuring_sends_everything_to_stderr_once(log_format, capfd):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging(log_format, "info")
        configure_logging(log_format, "info")
        logging.getLogger("anything").info("hello")
        logging.getLogger("anything").debug("not this")
        assert capfd.readouterr().err.count("hello") == 1
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_every_request_logs_one_line_with_its_id(service, caplog):
    with caplog.at_level(logging.INFO, "service.access"):
        answer = service.score("usb", "hose")
        while not caplog.records:
            pass
    (record,) = [each for each in caplog.records if each.name == "service.access"]
    assert record.fields["path"] == "/score"
    assert record.fields["status"] == 200
    assert record.fields["products"] == 2
    assert record.fields["duration_ms"] > 0
    assert answer.headers["x-request-id"]


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(write)
    os.close(read)


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(record, pipe):
    read, write = pipe
    handler = UnhurriedHandler(write)
    sent = 0
    while not handler.dropped:
        handler.handle(record(f"line {sent} " + "x" * 1000))
        sent += 1
    handler.handle(record("also lost"))
    assert handler.dropped == 2
    held = os.read(read, 1 << 20)
    handler.handle(record("heard again"))
    lines = (held + os.read(read, 1 << 20)).decode().splitlines()
    assert [line.split()[:2] for line in lines[:-1] if line] == [["line", str(i)] for i in range(sent - 1)]
    assert lines[-1] == "heard again"


def test_a_line_longer_than_a_pipe_takes_at_once_is_cut_and_the_next_stands_alone(record, pipe):
    read, write = pipe
    handler = UnhurriedHandler(write)
    handler.handle(record("x" * 1_000_000))
    assert handler.dropped == 1
    cut = os.read(read, 1 << 20)
    assert set(cut) == {ord("x")}
    handler.handle(record("next"))
    assert os.read(read, 1 << 20) == b"\nnext\n"


@pytest.mark.parametrize("fault", ["disk full", "reader gone", "no descriptor"])
def test_a_line_that_cannot_be_written_is_dropped_and_counted(record, fault):
    read, gone = os.pipe()
    os.close(read)
    with Path("/dev/full").open("wb", buffering=0) as full:
        handler = UnhurriedHandler({"disk full": full.fileno(), "reader gone": gone, "no descriptor": None}[fault])
        handler.handle(record("lost"))
        handler.handle(record("lost too"))
    os.close(gone)
    assert handler.dropped == 2


def test_a_line_that_cannot_be_formatted_says_so(record, pipe):
    read, write = pipe
    made = record("%d of %d")
    made.args = (1,)
    UnhurriedHandler(write).handle(made)
    assert b"a line of service.access cannot be formatted" in os.read(read, 1 << 20)
