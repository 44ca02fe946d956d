/** A spectrogram that scrolls: new sound at the right, 0 to 8 kHz from bottom to top. */

import { hann, magnitudes } from "./fft.ts";

const WINDOW_SAMPLES = 512;
const STEP_SAMPLES = 256; // a column, 16 ms
const FLOOR_DB = -96;
const RANGE_DB = 72;

export class Spectrogram {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #window = hann(WINDOW_SAMPLES);
  #past = new Float32Array(WINDOW_SAMPLES - STEP_SAMPLES);
  #columns: Float32Array[] = []; // levels 0 to 1, newest last; kept to paint again in another theme
  #colours: Uint8ClampedArray = new Uint8ClampedArray(0);

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false })!;
    canvas.height = WINDOW_SAMPLES / 2;
    new ResizeObserver(() => this.repaint()).observe(canvas);
  }

  add(samples: Float32Array): void {
    const joined = new Float32Array(this.#past.length + samples.length);
    joined.set(this.#past);
    joined.set(samples, this.#past.length);
    let at = 0;
    for (; at + WINDOW_SAMPLES <= joined.length; at += STEP_SAMPLES) {
      this.#paint(this.#column(joined.subarray(at, at + WINDOW_SAMPLES)));
    }
    this.#past = joined.slice(at);
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
    this.#columns = this.#columns.slice(-width);
    const first = width - this.#columns.length;
    this.#columns.forEach((column, index) => this.#context.putImageData(this.#image(column), first + index, 0));
  }

  #column(signal: Float32Array): Float32Array {
    return magnitudes(signal, this.#window).map((magnitude) => {
      const level = (20 * Math.log10(magnitude + 1e-9) - FLOOR_DB) / RANGE_DB;
      return Math.min(1, Math.max(0, level));
    });
  }

  #paint(column: Float32Array): void {
    const { width, height } = this.#canvas;
    this.#context.drawImage(this.#canvas, 1, 0, width - 1, height, 0, 0, width - 1, height);
    this.#context.putImageData(this.#image(column), width - 1, 0);
    this.#columns.push(column);
    if (this.#columns.length > 2 * width) this.#columns.splice(0, width);
  }

  #image(column: Float32Array): ImageData {
    const image = this.#context.createImageData(1, column.length);
    column.forEach((level, bin) => {
      const colour = 4 * Math.round(255 * level);
      image.data.set(this.#colours.subarray(colour, colour + 4), 4 * (column.length - 1 - bin));
    });
    return image;
  }
}

function ramp(stops: [number, number, number][]): Uint8ClampedArray {
  const colours = new Uint8ClampedArray(4 * 256);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(stops.length - 2, Math.floor(place));
    const mixed = stops[below]!.map((c, i) => c + (stops[below + 1]![i]! - c) * (place - below));
    colours.set([...mixed, 255], 4 * level);
  }
  return colours;
}

function rgb(hex: string): [number, number, number] {
  const value = parseInt(hex.trim().slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
