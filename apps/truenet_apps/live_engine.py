"""What happens between the microphone and the output, without any device: queues, rates, model and numbers.

    capture ─► ring ─► to 16 kHz ─► model, or around it ─► slip ─► to the output's rate ─► ring ─► play
    (callback)         └──────────────── step (a thread of its own) ───────────┘          (callback)

The two callbacks only move samples. `step` may be called from anywhere, so a test runs hours in seconds.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from truenet.enhancer import Enhancer
from truenet.fifo import SampleFifo, Samples
from truenet_apps.live_drift import QueueRegulator, Slip
from truenet_apps.live_guard import GuardedEnhancer
from truenet_apps.live_meters import Meters
from truenet_apps.live_resampler import Resampler
from truenet_apps.live_ring import Ring

RING_SECONDS = 0.5  # more is never waited for
HOPELESS_SECONDS = 0.2
FRAMES_REMEMBERED = 1250  # 10 s, for the percentiles of the time that a frame takes
LATENCY_SMOOTHING_SECONDS = 0.5

Listener = Callable[[Samples, Samples], None]


@dataclasses.dataclass(frozen=True)
class Status:
    """How it goes. Levels in dB of full scale, times in milliseconds; drift in parts per million."""

    seconds: float
    input_db: float
    output_db: float
    removed_db: float
    latency_ms: float
    device_ms: float
    window_ms: float
    queue_ms: float
    frame_p50_ms: float
    frame_p99_ms: float
    dropouts: int
    overloads: int
    overloaded: bool
    drift_ppm: float


class LiveEngine:
    """Mono sound from an input clock to an output clock, through the model, in bounded time.

    Args:
        enhancer: the model, with `whole_frames`; its faders may be set at any time.
        input_hz, output_hz: rates of the devices.
        margin_seconds: sound that waits in reserve against stalls.
        listener: gets each frame of input and output, in step, at the model's rate.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        input_hz: float,
        output_hz: float,
        margin_seconds: float,
        listener: Listener | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.input_hz, self.output_hz, self.margin_seconds = input_hz, output_hz, margin_seconds
        self._hop, self._rate_hz = enhancer.hop_samples, enhancer.sample_rate_hz
        self._enhancer, self._guard = enhancer, GuardedEnhancer(enhancer)
        self._listener, self._now = listener, now
        self._lock = threading.Lock()  # held for as long as it takes to copy a block
        self._incoming, self._outgoing = (
            Ring(round(RING_SECONDS * hz)) for hz in (input_hz, output_hz)
        )
        self._down = Resampler(input_hz, self._rate_hz)
        self._up = Resampler(self._rate_hz, output_hz)
        self._waiting = SampleFifo()
        self._slip, self._regulator = Slip(self._rate_hz), QueueRegulator(margin_seconds)
        self._to_skip_seconds = self._to_wait_seconds = 0.0
        self._received_seconds = 0.0
        self._lost_seconds = 0.0  # pushed out of a full ring
        self._done_seconds = 0.0  # of the input, by what is in the outgoing ring and before
        self._captured_at = 0.0  # when the newest sample was sound
        self._arrived_at = now()  # when it came in
        self._largest_block_seconds = 0.0
        self._playing = False
        self._dropouts = 0
        self._frame_seconds: deque[float] = deque(maxlen=FRAMES_REMEMBERED)
        self._meters = Meters(self._rate_hz)
        window = enhancer.latency_samples / self._rate_hz
        self._fixed_seconds = window + self._down.delay_seconds + self._up.delay_seconds
        self._queue_seconds, self._total_seconds = 0.0, self._fixed_seconds  # nothing played yet
        self.ready = threading.Event()  # there is something to do for `step`

    def warm_up(self) -> None:
        """Run the model once, before sound waits for it: the first call takes longer."""
        self._enhancer.process(np.zeros(self._hop, np.float32))
        self._enhancer.reset()

    def capture(self, block: Samples, age_seconds: float = 0.0, gap: bool = False) -> None:
        """Input callback: take (samples,), the last of which was sound `age_seconds` ago.

        Args:
            block: at the input's rate.
            age_seconds: what the device says.
            gap: whether the device lost sound before it.
        """
        seconds = len(block) / self.input_hz
        with self._lock:
            self._lost_seconds += self._incoming.put(block) / self.input_hz
            self._received_seconds += seconds
            self._dropouts += gap
            arrived_at = self._now()
            self._regulator.arrive(arrived_at - self._arrived_at)
            self._arrived_at, self._captured_at = arrived_at, arrived_at - age_seconds
            self._largest_block_seconds = max(self._largest_block_seconds, seconds)
        self.ready.set()

    def play(self, samples: int, delay_seconds: float = 0.0, gap: bool = False) -> Samples:
        """Output callback: the next (samples,), the first of which is heard in `delay_seconds`.

        Args:
            samples: how many, at the output's rate.
            delay_seconds: what the device says.
            gap: whether the device had nothing to play before.
        """
        seconds = samples / self.output_hz
        with self._lock:
            queue = self._queued_seconds()
            if not self._playing and queue < self.margin_seconds + seconds:
                return np.zeros(samples, np.float32)
            self._playing = True
            self._note_latency(queue, delay_seconds, seconds)
            silence = min(samples, round(self._to_wait_seconds * self.output_hz))
            self._to_wait_seconds = max(0.0, self._to_wait_seconds - seconds)
            block = self._outgoing.take(samples - silence)
            left = queue - len(block) / self.output_hz + self._now() - self._arrived_at
            excess = self._regulator.observe(left, seconds)
            self._to_skip_seconds += max(0.0, excess)
            self._to_wait_seconds += max(0.0, -excess)
        missing = samples - silence - len(block)
        self._dropouts += missing > 0 or gap
        return np.pad(block, (silence, missing))

    def step(self) -> bool:
        """Process a frame; False if there is none yet."""
        self._fetch()
        if len(self._waiting) < self._hop:
            return False
        behind = len(self._waiting) / self._rate_hz
        late = behind > self.margin_seconds + self._largest_block_seconds
        started = time.perf_counter()
        frame = self._waiting.take(self._hop)
        before, after = self._guard.process(
            frame, late, behind > self.margin_seconds + HOPELESS_SECONDS
        )
        if not self._guard.bypassed:
            self._frame_seconds.append(time.perf_counter() - started)
        self._meters.add(before, after)
        if self._listener is not None:
            self._listener(before, after)
        self._deliver(after)
        return True

    def status(self) -> Status:
        """The numbers of this moment."""
        times = np.array(self._frame_seconds or [0.0]) * 1000
        with self._lock:
            total, queue = self._total_seconds, self._queue_seconds
        return Status(
            seconds=self._received_seconds,
            input_db=self._meters.input_db,
            output_db=self._meters.output_db,
            removed_db=self._meters.removed_db,
            latency_ms=1000 * total,
            device_ms=1000 * (total - queue - self._fixed_seconds),
            window_ms=1000 * self._fixed_seconds,
            queue_ms=1000 * queue,
            frame_p50_ms=float(np.percentile(times, 50)),
            frame_p99_ms=float(np.percentile(times, 99)),
            dropouts=self._dropouts,
            overloads=self._guard.overloads,
            overloaded=self._guard.bypassed,
            drift_ppm=1e6 * self._up.correction,
        )

    def _fetch(self) -> None:
        with self._lock:
            block = self._incoming.take(len(self._incoming))
        if len(block):
            self._waiting.put(self._down.process(block))

    def _deliver(self, frame: Samples) -> None:
        with self._lock:
            to_skip, self._to_skip_seconds = self._to_skip_seconds, 0.0
        self._slip.skip(round(to_skip * self._rate_hz))
        self._up.correction = self._regulator.correction
        block = self._up.process(self._slip.process(frame))
        done = (self._up.position + self._slip.skipped_samples) / self._rate_hz
        with self._lock:
            self._outgoing.put(block)
            self._done_seconds = done + self._lost_seconds

    def _queued_seconds(self) -> float:
        """Sound that came in and is not out: wherever it is, so that the worker's haste does not matter."""
        out = self._done_seconds - len(self._outgoing) / self.output_hz
        return self._received_seconds - out

    def _note_latency(self, queue: float, delay_seconds: float, seconds: float) -> None:
        devices = self._now() - self._captured_at + delay_seconds
        share = min(1.0, seconds / LATENCY_SMOOTHING_SECONDS) if self._queue_seconds else 1.0
        total = devices + queue + self._fixed_seconds
        self._total_seconds += share * (total - self._total_seconds)
        self._queue_seconds += share * (queue - self._queue_seconds)
