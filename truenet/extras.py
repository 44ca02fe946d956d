"""How to install what only some commands need."""

_WITH = {"train": "./finetune ./data "}  # packages of this repository that the extra uses


def how_to_install(extra: str) -> str:
    """What to run for an extra of this package, "train" or "live" for instance; it is on no package index."""
    return f"in a clone of truenet run: pip install {_WITH.get(extra, '')}'.[{extra}]'"
