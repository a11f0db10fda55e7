"""Runs a module as `python -m` does, with functions that do nothing: `silenced.py NAMES -m MODULE ARGS...`

The control of `observability`: a service that counts nothing. NAMES, comma-separated, are `MODULE:CLASS.FUNCTION`.
"""

import importlib
import runpy
import sys


def silence(name: str) -> None:
    """From here on the function of that name returns at once, whatever it is given.

    Raises:
        SystemExit: there is none.
    """
    module_name, _, path = name.partition(":")
    class_name, _, function = path.partition(".")
    try:
        owner = getattr(importlib.import_module(module_name), class_name)
        if not callable(getattr(owner, function)):
            raise AttributeError(f"{name} is no function")
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"silenced: {error}") from None
    setattr(owner, function, _nothing)


def _nothing(*_: object, **__: object) -> None: ...


def main(argv: list[str]) -> None:
    """Does it."""
    names, flag, module, *arguments = argv
    if flag != "-m":
        raise SystemExit("expected NAMES -m MODULE")
    sys.path[0] = ""
    for name in names.split(","):
        silence(name)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
