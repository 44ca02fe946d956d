/** A spectrogram that scrolls: new sound at the right, 0 to 8 kHz from bottom to top. */

import { PowerSpectrum } from "./fft.ts";

const WINDOW_SAMPLES = 512;
const BINS = WINDOW_SAMPLES / 2;
const STEP_SAMPLES = 256; // a column, 16 ms
const FLOOR_DB = -96;
const RANGE_DB = 72;

export class Spectrogram {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #spectrum = new PowerSpectrum(WINDOW_SAMPLES);
  #past = new Float32Array(WINDOW_SAMPLES - STEP_SAMPLES);
  #columns: Uint8Array[] = []; // levels 0 to 255, newest last; kept to paint again in another theme
  #unpainted = 0;
  #frame = 0; // asked of the browser, which asks for none where the page is hidden
  #colours = new Uint32Array(256);

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false })!;
    canvas.height = BINS;
    new ResizeObserver(() => this.repaint()).observe(canvas);
  }

  /** More sound; it is painted later where it is not to be painted now. */
  add(samples: Float32Array, paint: boolean): void {
    const joined = new Float32Array(this.#past.length + samples.length);
    joined.set(this.#past);
    joined.set(samples, this.#past.length);
    let at = 0;
    for (; at + WINDOW_SAMPLES <= joined.length; at += STEP_SAMPLES) {
      this.#columns.push(this.#column(joined.subarray(at, at + WINDOW_SAMPLES)));
      this.#unpainted++;
    }
    this.#past = joined.slice(at);
    if (paint) this.#frame ||= requestAnimationFrame(() => this.#scroll());
  }

  clear(): void {
    this.#columns = [];
    this.#past = new Float32Array(WINDOW_SAMPLES - STEP_SAMPLES);
    this.repaint();
  }

  /** Everything again: at the start, in another size or theme. */
  repaint(): void {
    const style = getComputedStyle(this.#canvas);
    this.#colours = ramp(["--quiet", "--middle", "--loud"].map((name) => rgb(style.getPropertyValue(name))));
    this.#canvas.width = Math.max(64, Math.round(this.#canvas.clientWidth));
    const { width, height } = this.#canvas;
    this.#context.fillStyle = style.getPropertyValue("--quiet");
    this.#context.fillRect(0, 0, width, height);
    this.#paint(width);
  }

  #column(signal: Float32Array): Uint8Array {
    const levels = new Uint8Array(BINS);
    this.#spectrum.of(signal).forEach((power, bin) => {
      const level = (10 * Math.log10(power + 1e-18) - FLOOR_DB) / RANGE_DB;
      levels[bin] = Math.round(255 * Math.min(1, Math.max(0, level)));
    });
    return levels;
  }

  /** Moves the picture by what is new, and paints that. */
  #scroll(): void {
    this.#frame = 0;
    const { width, height } = this.#canvas;
    const count = Math.min(this.#unpainted, width);
    if (count < width) this.#context.drawImage(this.#canvas, count, 0, width - count, height, 0, 0, width - count, height);
    this.#paint(count);
  }

  /** Paints the newest columns, `most` at most, and forgets those that are out of sight. */
  #paint(most: number): void {
    const { width, height } = this.#canvas;
    this.#columns.splice(0, this.#columns.length - width);
    this.#unpainted = 0;
    const columns = this.#columns.slice(-most);
    if (!columns.length) return;
    const image = this.#context.createImageData(columns.length, height);
    const pixels = new Uint32Array(image.data.buffer);
    columns.forEach((column, x) => {
      for (let bin = 0; bin < BINS; bin++) pixels[(BINS - 1 - bin) * columns.length + x] = this.#colours[column[bin]!]!;
    });
    this.#context.putImageData(image, width - columns.length, 0);
  }
}

/** Colours for the levels 0 to 255, as pixels of an ImageData. */
function ramp(stops: [number, number, number][]): Uint32Array<ArrayBuffer> {
  const colours = new Uint8ClampedArray(4 * 256);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(stops.length - 2, Math.floor(place));
    const mixed = stops[below]!.map((c, i) => c + (stops[below + 1]![i]! - c) * (place - below));
    colours.set([...mixed, 255], 4 * level);
  }
  return new Uint32Array(colours.buffer);
}

function rgb(hex: string): [number, number, number] {
  const value = parseInt(hex.trim().slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
