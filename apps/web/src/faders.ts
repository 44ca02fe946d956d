/** The three faders: their defaults (those of truenet/faders.py) and the step to linear gains. */

export type Faders = [voice: number, room: number, noise: number]; // in dB; the lowest is −∞

export const DEFAULT_DB: Faders = [0, -20, -36];
export const LOWEST_DB = -40; // the bottom of a fader means nothing at all
export const HIGHEST_DB = 12;

/** The gain of a fader: 0 dB is 1, its lowest place is 0. */
export function linearGain(levelDb: number): number {
  return levelDb <= LOWEST_DB ? 0 : 10 ** (levelDb / 20);
}

/**
 * What the model gets. Bypass is all three alike, at the voice's level: the input, exactly, as late
 * as the result and with the voice as loud as in it.
 */
export function linearFaders(faders: Faders, bypass: boolean): Float32Array {
  if (!bypass) return Float32Array.from(faders, linearGain);
  return new Float32Array(3).fill(linearGain(faders[0]) || 1);
}

export function faderText(levelDb: number): string {
  if (levelDb <= LOWEST_DB) return "off";
  return `${levelDb > 0 ? "+" : levelDb < 0 ? "−" : ""}${Math.abs(levelDb)} dB`;
}
