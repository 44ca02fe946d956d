/** The browser's audio: context, audio thread, microphone. */

import processorUrl from "./processor.worklet.ts?worker&url";
import { waitedFrames } from "./live.ts";
import type { Heard, ProcessorOptions, ToProcessor } from "./messages.ts";
import type { ModelInfo } from "./modelfile.ts";
import { Resampler } from "./resampler.ts";

/** Milliseconds from the microphone to the ear, by where they come from. */
export interface Latency {
  model: number; // its window
  queue: number; // a frame, and the frames that the model has time for
  filters: number; // to the model's rate and back
  device: number; // as the browser tells, both ways where it does
}

export class Sound {
  readonly context: AudioContext;
  readonly lateSamples: number; // by which what is heard lags the microphone, at the model's rate
  readonly #node: AudioWorkletNode;
  readonly #info: ModelInfo;
  readonly #waitedFrames: number;
  readonly #filterMilliseconds: number;
  #microphone: { stream: MediaStream; source: MediaStreamAudioSourceNode } | undefined;

  private constructor(context: AudioContext, node: AudioWorkletNode, info: ModelInfo, waited: number) {
    this.context = context;
    this.lateSamples = info.latencySamples + waited * info.hopSamples;
    this.#node = node;
    this.#info = info;
    this.#waitedFrames = waited;
    const down = new Resampler(context.sampleRate, info.sampleRateHz);
    const up = new Resampler(info.sampleRateHz, context.sampleRate);
    this.#filterMilliseconds =
      1000 * (down.delaySamples / info.sampleRateHz + up.delaySamples / context.sampleRate);
  }

  static async open(info: ModelInfo, heard: (heard: Heard) => void): Promise<Sound> {
    const context = new AudioContext({ latencyHint: "interactive" });
    await context.audioWorklet.addModule(processorUrl);
    const { sampleRateHz, hopSamples, latencySamples } = info;
    const waited = waitedFrames(context.baseLatency, hopSamples / sampleRateHz);
    const processorOptions: ProcessorOptions = { sampleRateHz, hopSamples, latencySamples, waitedFrames: waited };
    const node = new AudioWorkletNode(context, "truenet", { processorOptions, outputChannelCount: [2] });
    node.port.onmessage = (event: MessageEvent<Heard>) => heard(event.data);
    node.connect(context.destination);
    return new Sound(context, node, info, waited);
  }

  tell(message: ToProcessor): void {
    this.#node.port.postMessage(message, message.kind === "live" ? [message.port] : []);
  }

  /** Lets the sound run. Call it from a click or a key, or the browser keeps it back. */
  async start(): Promise<void> {
    let given: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      given = setTimeout(() => reject(new Error(SILENT)), START_MILLISECONDS);
    });
    await Promise.race([this.context.resume(), late]).finally(() => clearTimeout(given));
  }

  /** Opens the microphone with the browser's own processing off; `lost` when it goes away. */
  async openMicrophone(lost: () => void): Promise<string[]> {
    const stream = await microphone();
    const [track] = stream.getAudioTracks();
    track?.addEventListener("ended", lost);
    const source = this.context.createMediaStreamSource(stream);
    source.connect(this.#node);
    this.#microphone = { stream, source };
    await this.start();
    const settings = track?.getSettings();
    return PROCESSING.filter((name) => settings?.[name]);
  }

  closeMicrophone(): void {
    this.#microphone?.source.disconnect();
    this.#microphone?.stream.getTracks().forEach((track) => track.stop());
    this.#microphone = undefined;
  }

  latency(): Latency {
    const { sampleRateHz, hopSamples, latencySamples } = this.#info;
    const rate = this.context.sampleRate;
    const input = this.#microphone?.stream.getAudioTracks()[0]?.getSettings() as { latency?: number };
    return {
      model: (1000 * latencySamples) / sampleRateHz,
      queue: (1000 * (1 + this.#waitedFrames) * hopSamples) / sampleRateHz + (1000 * 128) / rate,
      filters: this.#filterMilliseconds,
      device: 1000 * ((this.context.outputLatency || this.context.baseLatency) + (input?.latency ?? 0)),
    };
  }
}

const START_MILLISECONDS = 10_000;
const SILENT = "The browser's sound does not start. Is there a loudspeaker, or headphones, that it may use?"; // Firefox waits

const PROCESSING = ["echoCancellation", "noiseSuppression", "autoGainControl"] as const;

async function microphone(): Promise<MediaStream> {
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    throw new Error(REASONS[(error as DOMException).name] ?? `The microphone could not be opened: ${error}`);
  }
}

const REASONS: Record<string, string> = {
  NotAllowedError: "The microphone was not allowed. Allow it for this page in the browser's address bar, then try again.",
  NotFoundError: "No microphone was found. Plug one in, or open a file.",
  NotReadableError: "The microphone is in use by another program, or does not answer.",
};
