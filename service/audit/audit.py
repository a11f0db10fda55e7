"""Takes a sample of answered requests aside, and has a thread write their pairs to files.

The event loop pays for a hash and an append. What the thread cannot write, for want of room in its queue or on the
disk, is dropped and counted, and the service goes on.
"""

import logging
import time
from collections.abc import Callable, Sequence

from ..handover import Handover
from ..job import Job
from ..metrics import Metrics
from ..registry import LoadedModel
from ..sampling import is_sampled
from ..settings import Settings
from .files import AuditFiles
from .records import Sampled, count, lines

log = logging.getLogger(__name__)

WRITTEN, DROPPED = "written", "dropped"

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Of request bodies whose pairs wait to be written: their texts take a few times as much."""

BLOCK_BYTES = 256 * 1024
"""Of lines that are written together, but for a request that has more."""

COMPLAINT_PERIOD_S = 60.0


class Audit:
    """`offer` belongs to the event loop, all else to the thread.

    Args:
        files: where pairs go.
        rate: share of requests to sample; their ids decide, so that the same request is sampled in every replica.
        metrics: told of every sampled pair.
        clock: monotonic, in seconds.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        files: AuditFiles,
        rate: float,
        metrics: Metrics,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._rate = rate
        self._clock = clock
        self._wall_clock = wall_clock
        self._written = metrics.audit_pairs.labels(WRITTEN)
        self._dropped = metrics.audit_pairs.labels(DROPPED)
        self._silent_until = clock()
        self.handover: Handover[Sampled] = Handover(self.write, MAX_WAITING_BYTES, "audit writer")

    def offer(self, job: Job, served: LoadedModel, body_bytes: int) -> None:
        """Takes note of an answered request, if it belongs to the sample."""
        if not is_sampled(job.request_id, self._rate):
            return
        sampled = Sampled(job, served.name, served.model.manifest, self._wall_clock())
        if not self.handover.offer(sampled, body_bytes):
            self._dropped.inc(count(sampled))

    def start(self) -> None:
        """Starts the thread."""
        self.handover.start()

    def stop(self) -> None:
        """Writes what waits, and finishes the file, within a few seconds. Blocks."""
        if self.handover.stop():
            try:
                self._files.finish()
            except OSError as error:
                self._complain(error)

    def write(self, requests: Sequence[Sampled]) -> None:
        """Writes the pairs of requests in blocks, and finishes a file that has been open for long."""
        block: list[bytes] = []
        block_bytes = 0
        for request in requests:
            # All of them or none: a request never stands in two files.
            found = self._lines(request)
            block += found
            block_bytes += sum(map(len, found))
            if block_bytes >= BLOCK_BYTES:
                self._write_block(block)
                block, block_bytes = [], 0
        self._write_block(block)

    def _lines(self, request: Sampled) -> list[bytes]:
        try:
            return list(lines(request))
        except Exception:
            log.exception("a request cannot be written to the audit files", extra={"fields": request.job.ids()})
            self._dropped.inc(count(request))
            return []

    def _write_block(self, block: Sequence[bytes]) -> None:
        try:
            if block:
                self._files.write(b"".join(block))
                self._written.inc(len(block))
        except OSError as error:
            self._dropped.inc(len(block))
            self._complain(error)
        try:
            # Whether or not there was room: a file that is finished can be removed.
            self._files.finish_if_due()
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        """At most once a minute: a full disk stays full for a while."""
        if self._clock() >= self._silent_until:
            self._silent_until = self._clock() + COMPLAINT_PERIOD_S
            log.error("audit files cannot be written, pairs are dropped: %s", error)


def make_audit(settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> Audit | None:
    """As the settings say; None where they name no folder."""
    if settings.audit_dir is None:
        return None
    return Audit(AuditFiles(settings.audit_dir, settings.audit_bytes, clock), settings.audit_rate, metrics, clock)
