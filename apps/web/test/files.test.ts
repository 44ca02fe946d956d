import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DEFAULT_DB, linearFaders, linearGain } from "../src/faders.ts";
import { SampleFifo } from "../src/fifo.ts";
import { StemPlayer } from "../src/player.ts";
import { nativeRateHz } from "../src/soundfile.ts";
import { unpackedRuntime } from "../src/download.ts";
import { writeWav } from "../src/wav.ts";
import { gzipSync } from "node:zlib";
import { noise } from "./signals.ts";

const ROOT = new URL("../../../", import.meta.url);

it("writes a WAV header that says what follows", async () => {
  const samples = noise(100);
  const view = new DataView(await writeWav(samples, 16_000).arrayBuffer());
  expect(view.byteLength).toBe(58 + 400);
  expect(view.getUint32(4, true)).toBe(view.byteLength - 8);
  expect(view.getUint16(20, true)).toBe(3);
  expect(nativeRateHz(view)).toBe(16_000);
  expect(view.getFloat32(58 + 4 * 7, true)).toBe(samples[7]);
});

it("reads the rate of FLAC, and of nothing else", () => {
  const flac = readFileSync(new URL("samples/cafe.flac", ROOT));
  expect(nativeRateHz(new DataView(flac.buffer, flac.byteOffset, flac.length))).toBe(16_000);
  expect(nativeRateHz(new DataView(new ArrayBuffer(64)))).toBeUndefined();
  expect(nativeRateHz(new DataView(new ArrayBuffer(3)))).toBeUndefined();
});

it("unpacks the runtime, takes what the host has unpacked, and nothing else", async () => {
  const wasm = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const packed = Uint8Array.from(gzipSync(wasm));
  for (const file of [packed, wasm]) expect(new Uint8Array(await unpackedRuntime(file))).toEqual(wasm);
  const page = new TextEncoder().encode("<!doctype html>");
  for (const file of [packed.slice(0, 12), Uint8Array.from(gzipSync(page)), page, new Uint8Array()]) {
    await expect(unpackedRuntime(file)).rejects.toThrow("The runtime is damaged");
  }
});

it("has the faders of the Python package", () => {
  const source = readFileSync(new URL("truenet/faders.py", ROOT), "utf8");
  const defaults = ["VOICE", "ROOM", "NOISE"].map((name) => Number(source.match(`DEFAULT_${name}_DB = (.*)`)![1]));
  expect(DEFAULT_DB).toEqual(defaults);
});

it("bypasses with the voice as loud as before", () => {
  expect(linearGain(-40)).toBe(0);
  expect([...linearFaders([0, -15, -40], true)]).toEqual([1, 1, 1]);
  expect(new Set(linearFaders([6, -15, -40], true))).toEqual(new Set([Math.fround(linearGain(6))]));
  expect([...linearFaders([-40, 0, 0], true)]).toEqual([1, 1, 1]);
});

it("keeps the order of samples, and gives silence when it has none", () => {
  const fifo = new SampleFifo();
  fifo.put(Float32Array.of(1, 2, 3));
  fifo.put(Float32Array.of(4));
  expect([...fifo.take(2), ...fifo.take(3)]).toEqual([1, 2, 3, 4, 0]);
  expect(fifo.length).toBe(0);
});

it("mixes the parts as the faders say, from the next block on", () => {
  const player = new StemPlayer();
  const part = (value: number) => new Float32Array(300).fill(value);
  player.append({ voice: part(1), room: part(0.5), noise: part(0.25) });
  player.append({ voice: part(1), room: part(0.5), noise: part(0.25) });
  expect(player.next(128).after.every((sample) => sample === 0)).toBe(true);
  player.playing = true;
  expect(player.next(128).after[127]).toBe(1.75);
  player.faders = Float32Array.of(1, 0, 0);
  player.next(128);
  const { before, after } = player.next(128);
  expect([before[0], after[0], before[127], after[127]]).toEqual([1.75, 1, 1.75, 1]);
  player.next(400);
  expect(player.atEnd).toBe(true);
});
