"""The faders and the bypass, as keys move them."""

import math

from truenet.enhancer import Enhancer

STEP_DB = 3.0
LOWEST_DB = -60.0  # the step below it is −inf
HIGHEST_DB = 12.0
NAMES = ("voice", "room", "noise")
KEYS = "v r n lower, V R N raise voice, room, noise · b bypass · q quit"


class Controls:
    """Levels of voice, room and noise.

    Args:
        enhancer: what they act on, from its next frame.
    """

    def __init__(self, enhancer: Enhancer) -> None:
        self.bypass = False
        self.levels_db = {name: float(getattr(enhancer, f"{name}_db")) for name in NAMES}
        self._enhancer = enhancer

    def press(self, key: str) -> bool:
        """Do what the key says; False for quit."""
        if key in ("q", "\x03", "\x1b"):
            return False
        if key == "b":
            self.bypass = not self.bypass
        for name in NAMES:
            if key.lower() == name[0]:
                self.levels_db[name] = _moved(self.levels_db[name], raised=key.isupper())
        for name, level_db in self.levels_db.items():  # all faders at one are the exact bypass
            setattr(self._enhancer, f"{name}_db", 0.0 if self.bypass else level_db)
        return True


def _moved(level_db: float, raised: bool) -> float:
    if not raised:
        return level_db - STEP_DB if level_db - STEP_DB >= LOWEST_DB else -math.inf
    return LOWEST_DB if math.isinf(level_db) else max(level_db, min(HIGHEST_DB, level_db + STEP_DB))
