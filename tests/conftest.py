"""The order of the tests, and how many examples the properties are tried with."""

from pathlib import Path

from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent

# No deadline for an example: a busy machine is no defect.
settings.register_profile(
    "repeatable", stateful_step_count=20, derandomize=True, database=None, deadline=None, print_blob=True
)
settings.register_profile(
    "long",
    max_examples=500,
    stateful_step_count=100,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items):
    """The files beside this one first: their tests are the longest, and none should begin when other cores are done."""
    items.sort(key=lambda item: item.path.parent != HERE)
