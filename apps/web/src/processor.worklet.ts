/**
 * The audio thread: microphone to frames at the model's rate and back to the device's, or a
 * recording played. It moves and mixes samples; the model runs in a worker.
 */

import { concatenate, SampleFifo } from "./fifo.ts";
import { LiveFrames } from "./live.ts";
import type { Frame, Heard, ProcessorOptions, ToProcessor } from "./messages.ts";
import { StemPlayer } from "./player.ts";
import { Resampler } from "./resampler.ts";

const REPORT_SAMPLES = 768; // 48 ms at 16 kHz: to paint more often takes as long as the model does
const FADE_A_SAMPLE = 1 / 2000; // about 40 ms for the loudspeaker to come and go

class TruenetProcessor extends AudioWorkletProcessor {
  readonly #options: ProcessorOptions;
  readonly #down: Resampler;
  readonly #up: Resampler;
  readonly #output = new SampleFifo();
  #live: LiveFrames | undefined;
  #livePort: MessagePort | undefined;
  #player = new StemPlayer();
  #faders: Float32Array = new Float32Array([1, 1, 1]);
  #before: Float32Array[] = [];
  #after: Float32Array[] = [];
  #reported = 0;
  #liveSamples = 0;
  #volume = 1;
  #listen = true;
  #alive = true;

  constructor({ processorOptions }: { processorOptions: ProcessorOptions }) {
    super();
    this.#options = processorOptions;
    this.#down = new Resampler(sampleRate, processorOptions.sampleRateHz);
    this.#up = new Resampler(processorOptions.sampleRateHz, sampleRate);
    this.port.onmessage = (event: MessageEvent<ToProcessor>) => this.#obey(event.data);
  }

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const output = outputs[0]?.[0];
    if (!output) return this.#alive;
    if (this.#live) this.#pass(this.#live, mono(inputs[0] ?? [], output.length));
    else this.#play(output.length);
    output.set(this.#output.take(output.length));
    this.#setVolume(output);
    outputs[0]?.slice(1).forEach((channel) => channel.set(output));
    return this.#alive;
  }

  #pass(live: LiveFrames, input: Float32Array): void {
    for (const { before, after } of live.process(this.#down.process(input))) {
      this.#liveSamples += before.length;
      this.#output.put(this.#up.process(after));
      this.#note(before, after);
    }
  }

  #play(count: number): void {
    while (this.#output.length < count) {
      const sounding = this.#player.playing && !this.#player.atEnd; // or waiting for the model
      const { before, after } = this.#player.next(this.#options.hopSamples);
      this.#output.put(this.#up.process(after));
      if (!sounding) continue;
      this.#note(before, after);
      if (this.#player.atEnd) this.#report();
    }
  }

  #note(before: Float32Array, after: Float32Array): void {
    this.#before.push(before);
    this.#after.push(after);
    this.#reported += before.length;
    if (this.#reported >= REPORT_SAMPLES) this.#report();
  }

  #report(): void {
    const heard: Heard = {
      kind: "heard",
      before: concatenate(this.#before),
      after: concatenate(this.#after),
      position: this.#live ? this.#liveSamples : this.#player.position,
      missed: this.#live?.missed ?? 0,
      tooBusy: this.#live?.tooBusy ?? false,
      ended: !this.#live && this.#player.atEnd,
    };
    this.#before = [];
    this.#after = [];
    this.#reported = 0;
    this.port.postMessage(heard, [heard.before.buffer, heard.after.buffer]);
  }

  #obey(message: ToProcessor): void {
    if (message.kind === "live") this.#startLive(message.port);
    if (message.kind === "open") this.#open();
    if (message.kind === "part") this.#player.append(message.stems);
    if (message.kind === "faders") this.#player.faders = this.#faders = message.faders;
    if (message.kind === "play") this.#player.playing = message.playing;
    if (message.kind === "seek") this.#player.position = message.sample;
    if (message.kind === "listen") this.#listen = message.on;
    if (message.kind === "end") this.#alive = false;
  }

  #open(): void {
    this.#live = undefined;
    this.#livePort?.close();
    this.#player = new StemPlayer();
    this.#player.faders = this.#faders;
  }

  #startLive(port: MessagePort): void {
    const { hopSamples, latencySamples, waitedFrames } = this.#options;
    const live = new LiveFrames(hopSamples, latencySamples, waitedFrames, (frame) => port.postMessage(frame));
    port.onmessage = (event: MessageEvent<Frame>) => live.receive(event.data);
    this.#live = live;
    this.#livePort = port;
    this.#liveSamples = 0;
    // frames come in bursts of a hop: as much silence ahead, so that the output never runs dry
    const hop = Math.ceil((hopSamples * sampleRate) / this.#options.sampleRateHz);
    this.#output.take(this.#output.length);
    this.#output.put(new Float32Array(hop + 128));
  }

  #setVolume(output: Float32Array): void {
    const target = this.#live && !this.#listen ? 0 : 1;
    for (let index = 0; index < output.length; index++) {
      const change = Math.max(-FADE_A_SAMPLE, Math.min(FADE_A_SAMPLE, target - this.#volume));
      this.#volume += change;
      output[index]! *= this.#volume;
    }
  }
}

function mono(channels: Float32Array[], length: number): Float32Array {
  const mixed = new Float32Array(length);
  for (const channel of channels) channel.forEach((sample, i) => (mixed[i]! += sample / channels.length));
  return mixed;
}

registerProcessor("truenet", TruenetProcessor);
