import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Model } from "../src/model.ts";
import { readModelInfo } from "../src/modelfile.ts";
import { selfTest, type Vector } from "../src/selftest.ts";
import { stemsOf } from "../src/stems.ts";
import { noise } from "./signals.ts";

const WEB = new URL("../", import.meta.url);
const FILE = readFileSync(new URL("../../truenet/models/truenet.onnx", WEB));
const FLOAT_FILE = readFileSync(new URL("../../truenet/models/truenet_float32.onnx", WEB));
const RUNTIME = readFileSync(new URL("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm", WEB));
const VECTOR = JSON.parse(readFileSync(new URL("selftest.json", WEB), "utf8")) as Vector;
const FLOAT_VECTOR = JSON.parse(readFileSync(new URL("test/float32.json", WEB), "utf8")) as Vector;

describe("the metadata", () => {
  it("is read from the file itself", () => {
    const info = readModelInfo(FILE);
    expect(info).toMatchObject({ sampleRateHz: 16_000, hopSamples: 128, windowSamples: 512, latencySamples: 384 });
    expect(info.weightsSha256).toBe(VECTOR.weights_sha256);
  });

  it.each([
    ["cut off", FILE.subarray(0, FILE.length / 2), /damaged/],
    ["not ONNX", new TextEncoder().encode("<!doctype html><title>404</title>"), /damaged/],
    ["empty", new Uint8Array(0), /not a truenet model/],
    ["of another maker", Uint8Array.of(0x72, 4, 0x0a, 1, 97, 0x12).subarray(0, 5), /damaged/],
    ["of a newer format", newer(), /format 9/],
  ])("refuses a file that is %s", (_, file, message) => {
    expect(() => readModelInfo(file)).toThrow(message);
  });
});

describe("the model", async () => {
  const model = await Model.open(RUNTIME, FILE);

  it("does here what it does in Python", async () => {
    expect(await selfTest(model, VECTOR)).toBeGreaterThan(40);
  });

  it("does so in float, too", async () => {
    expect(await selfTest(await Model.open(RUNTIME, FLOAT_FILE), FLOAT_VECTOR)).toBeGreaterThan(90);
  });

  it("says so when it does not", async () => {
    await expect(selfTest(model, { ...VECTOR, faders: [0, 0, 1] })).rejects.toThrow("self-test failed");
    await expect(selfTest(model, { ...VECTOR, weights_sha256: "0" })).rejects.toThrow("other weights");
  });

  it.each([1, 4_000, 9_999])("splits %i samples into parts that sum to them", async (length) => {
    const audio = noise(length).map((sample) => 0.1 * sample);
    let made = 0;
    for await (const { voice, room, noise: rest } of stemsOf(model, audio)) {
      voice.forEach((sample, i) => expect(sample + room[i]! + rest[i]!).toBeCloseTo(audio[made + i]!, 5));
      made += voice.length;
    }
    expect(made).toBe(length);
  });

  it("is not poisoned by a sample that is none", async () => {
    const stream = model.stream(new Float32Array([1, 0, 0]));
    await stream.process(new Float32Array(128).fill(NaN));
    const [after] = await stream.process(new Float32Array(512));
    expect(after!.every(Number.isFinite)).toBe(true);
  });
});

function newer(): Uint8Array {
  const entry = [0x0a, 14, ...new TextEncoder().encode("truenet_format"), 0x12, 1, 0x39];
  return Uint8Array.of(0x72, entry.length, ...entry);
}
