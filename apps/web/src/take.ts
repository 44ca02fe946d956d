/** What was recorded or opened: the signal that the model gets, its three parts, and what was heard. */

import { concatenate } from "./fifo.ts";
import { linearGain, type Faders } from "./faders.ts";
import type { Stems } from "./messages.ts";

export class Take {
  readonly name: string;
  readonly input: Float32Array; // at the model's rate: exactly what it was fed
  readonly heard: Float32Array | undefined; // of a microphone: what came out live, as late as it was
  progress = 0;
  readonly parts: Stems[] = [];

  constructor(name: string, input: Float32Array, heard?: Float32Array) {
    this.name = name;
    this.input = input;
    this.heard = heard;
  }

  get done(): boolean {
    return this.progress === 1;
  }

  add(stems: Stems, progress: number): void {
    this.parts.push(stems);
    this.progress = progress;
  }

  part(name: keyof Stems): Float32Array {
    return concatenate(this.parts.map((stems) => stems[name]));
  }

  mix(faders: Faders): Float32Array {
    const [voice, room, noise] = faders.map(linearGain) as Faders;
    const mixed = this.part("voice");
    const [rooms, noises] = [this.part("room"), this.part("noise")];
    return mixed.map((sample, i) => voice * sample + room * rooms[i]! + noise * noises[i]!);
  }
}
