"""Why an export is refused. Every refusal says what to do about it, and leaves nothing half-written."""


class ExportError(Exception):
    """A checkpoint, a set of pairs or a graph that must not become an artifact."""
