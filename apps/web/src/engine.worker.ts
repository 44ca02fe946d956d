/** The worker that runs the model: frames of the microphone, or a whole recording. */

import { concatenate } from "./fifo.ts";
import type { Frame, FromEngine, ToEngine } from "./messages.ts";
import { Model, type ModelStream } from "./model.ts";
import { floats, selfTest } from "./selftest.ts";
import { stemsOf } from "./stems.ts";

const MOST_FRAMES_A_CALL = 8; // catching up takes less time a frame
const TIMINGS_A_REPORT = 25;
const WARM_UP_FRAMES = 300;

let model: Model | undefined;
let live: { port: MessagePort; stream: ModelStream } | undefined;
let job = 0; // the recording in work
let busy = false;
const queue: Frame[] = [];
let timings: number[] = [];

self.onmessage = (event: MessageEvent<ToEngine>) => void obey(event.data);

async function obey(message: ToEngine): Promise<void> {
  if (message.kind === "load") await load(message);
  if (message.kind === "live") startLive(message.port, message.faders);
  if (message.kind === "faders" && live) live.stream.faders = message.faders;
  if (message.kind === "stems") await makeStems(message.id, message.audio);
  if (message.kind === "stop") stop();
  if (message.kind === "ping") tell({ kind: "pong" });
}

async function load(message: Extract<ToEngine, { kind: "load" }>): Promise<void> {
  try {
    const opened = await Model.open(message.wasm, new Uint8Array(message.model));
    const selfTestDb = await selfTest(opened, message.vector);
    model = opened;
    tell({ kind: "ready", info: opened.info, selfTestDb });
    await warmUp(opened, floats(message.vector.audio));
  } catch (error) {
    tell({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  }
}

/**
 * The first calls compile; they are not to fall into somebody's first words. What is not called often enough to be
 * compiled for good, browsers forget when nothing happens: the first frame then takes as long as 25 others.
 */
async function warmUp(opened: Model, speech: Float32Array): Promise<void> {
  const mine = job;
  const stream = opened.stream(new Float32Array([1, 1, 1]));
  const hop = opened.info.hopSamples;
  for (let index = 0; index < WARM_UP_FRAMES && job === mine; index++) {
    const at = (index * hop) % speech.length;
    const start = performance.now();
    await stream.process(speech.subarray(at, at + hop));
    if (index >= WARM_UP_FRAMES - TIMINGS_A_REPORT) note(performance.now() - start, 1);
    await messages();
  }
}

/** Lets messages come in. */
function messages(): Promise<void> {
  return new Promise((resume) => setTimeout(resume));
}

function stop(): void {
  job++;
  live?.port.close();
  live = undefined;
  queue.length = 0;
}

function startLive(port: MessagePort, faders: Float32Array): void {
  stop();
  if (!model) return;
  const stream = model.stream(faders);
  live = { port, stream };
  port.onmessage = (event: MessageEvent<Frame>) => {
    queue.push(event.data);
    void pump();
  };
}

async function pump(): Promise<void> {
  if (busy) return;
  busy = true;
  while (live && queue.length) {
    const { port, stream } = live;
    const frames = queue.splice(0, MOST_FRAMES_A_CALL);
    const start = performance.now();
    const [enhanced] = await stream.process(concatenate(frames.map((frame) => frame.samples)));
    note((performance.now() - start) / frames.length, frames.length);
    let at = 0;
    for (const { number, samples } of frames) {
      port.postMessage({ number, samples: enhanced!.slice(at, (at += samples.length)) });
    }
  }
  busy = false;
}

function note(milliseconds: number, frames: number): void {
  for (let index = 0; index < frames; index++) timings.push(milliseconds);
  if (timings.length < TIMINGS_A_REPORT) return;
  tell({ kind: "timing", frameMilliseconds: timings });
  timings = [];
}

async function makeStems(id: number, audio: Float32Array): Promise<void> {
  stop();
  const mine = job;
  if (!model) return;
  let made = 0;
  for await (const stems of stemsOf(model, audio)) {
    if (job !== mine) return;
    made += stems.voice.length;
    tell({ kind: "part", id, stems, progress: made / audio.length, done: made === audio.length });
    await messages();
  }
}

function tell(message: FromEngine): void {
  self.postMessage(message);
}
