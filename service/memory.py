"""What is done about the process's memory once a model was loaded, or let go. For whole processes, not for an app."""

import ctypes
import gc


def settle_memory() -> None:
    """Collects garbage, the first time spares later collections what is left, and returns free memory to the system.

    A full collection walks through libraries, routes and models, and stops every lane meanwhile for about 50 ms; over
    what came after the first freeze, well under one. What is frozen still goes by its reference count, as a model does
    that is swapped out: no cycle may lead through a model (a test holds them to it). What comes later is not frozen: a
    request in work at that moment ends as a cycle that holds its model.
    """
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()
    # glibc keeps the pages of a model that is gone, and lays the next one beside them.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
