"""A microphone and an output with clocks of their own, in simulated time, as fast as the machine goes."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from truenet.enhancer import Enhancer
from truenet_apps.live_engine import Listener, LiveEngine

Sound = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclasses.dataclass
class Devices:
    """Two devices around an engine.

    sound: gives the microphone's samples, from their numbers. apart_ppm: how much faster the output's clock runs.
    """

    enhancer: Enhancer
    sound: Sound
    input_hz: int = 16_000
    output_hz: int = 16_000
    apart_ppm: float = 0.0
    block_seconds: float = 0.01
    margin_seconds: float = 0.02
    listener: Listener | None = None

    def __post_init__(self) -> None:
        self.seconds = 0.0
        self.engine = LiveEngine(
            self.enhancer,
            self.input_hz,
            self.output_hz,
            self.margin_seconds,
            self.listener,
            now=lambda: self.seconds,
        )
        self._input_count = 0
        self._next_input, self.next_output = 0.0, 0.3 * self.block_seconds

    def run(
        self, seconds: float, frames_a_block: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """What the output plays, block by block, until `seconds`.

        Args:
            seconds: the time of the end.
            frames_a_block: frames that the model gets done for each input block; None is as many as there are.
        """
        while (due := min(self._next_input, self.next_output)) < seconds:
            self.seconds = due
            if self._next_input <= self.next_output:
                self._record()
                done = 0
                while (frames_a_block is None or done < frames_a_block) and self.engine.step():
                    done += not self.engine.status().overloaded
            else:
                block = round(self.block_seconds * self.output_hz)
                yield self.engine.play(block)
                self.next_output += block / self.output_hz / (1 + 1e-6 * self.apart_ppm)

    def _record(self) -> None:
        block = round(self.block_seconds * self.input_hz)
        places = np.arange(self._input_count, self._input_count + block)
        self.engine.capture(self.sound(places))
        self._input_count += block
        self._next_input += block / self.input_hz
