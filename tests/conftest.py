"""The order of the tests on several cores."""

from pathlib import Path

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """The files beside this one first: their tests are the longest, and none should begin when other cores are done."""
    items.sort(key=lambda item: item.path.parent != HERE)
