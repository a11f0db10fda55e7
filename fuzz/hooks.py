"""What schemathesis is told beyond its settings: this module is loaded by the process that runs it."""

from typing import Any

import schemathesis

UNKNOWN_HEADER = "x-schemathesis-unknown-property"


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """Leaves out requests whose fault is a header that the document does not name.

    HTTP has those ignored (RFC 9110, 5.1), and schemathesis forgives them itself, but not beside every value of the
    other headers.
    """
    return UNKNOWN_HEADER not in {name.lower() for name in case.headers or {}}
