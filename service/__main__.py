"""`python -m service`: reads the settings, binds the socket, serves. `--help` lists every option.

`python -m service drift-report` asks a running one what drifted.
"""
# ruff: noqa: E402 - signals have to be heeded before the imports, which take most of a second

import signal
import sys


def _stop_before_serving(*_: object) -> None:
    """Nothing is in work yet. Without a handler, the first process of a container would not hear the signal at all."""
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop_before_serving)
    # It asks to read the models' folders, which is about to be done.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

import logging
import os
from collections.abc import Sequence

from pydantic import ValidationError

from .settings import prepare_libraries, settings_from_command_line, unknown_variables

log = logging.getLogger("service")

DRIFT_REPORT = "drift-report"
"""The one word that is no setting: another command, docs/drift.md."""


def main(arguments: Sequence[str]) -> int:
    """Runs the service to its end. Returns 0 after a clean stop, 1 if it could not serve, 2 for wrong settings."""
    if arguments[:1] == [DRIFT_REPORT]:
        prepare_libraries()
        from .drift.report import main as drift_report

        return drift_report(arguments[1:])
    try:
        settings = settings_from_command_line(arguments)
    except ValidationError as error:
        for each in error.errors():
            option = "-".join(str(part) for part in each["loc"]).replace("_", "-")
            _complain(f"{'--' + option if option else 'settings'}: {each['msg']}")
        return 2

    prepare_libraries()
    # Only from here on: these imports start threads and take a second, and --help needs none of them.
    from artifact import ArtifactError

    from .logs import configure_logging
    from .registry import ModelNameError, read_sources
    from .server import bind, serve
    from .tracing.tracing import TracingError, check_tracing

    logs = configure_logging(settings.log_format, settings.log_level, texts=settings.log_texts)
    # Before anything can fail: the typo may be why it does.
    if unknown := unknown_variables():
        log.warning("no setting knows these environment variables: %s", ", ".join(unknown))
    try:
        check_tracing(settings)
        read_sources(settings)
    except (ArtifactError, ModelNameError, OSError, TracingError) as error:
        _complain(f"cannot serve: {error}")
        return 1
    try:
        listener = bind(settings.host, settings.port)
    except OSError as error:
        # The exception's own text repeats the address.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        _complain(f"cannot listen on {settings.host}:{settings.port}: {reason}")
        return 1
    except UnicodeError:
        _complain(f"cannot listen on {settings.host}:{settings.port}: not a host name")
        return 1
    return serve(settings, listener, logs)


def _complain(message: str) -> None:
    print(f"service: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
