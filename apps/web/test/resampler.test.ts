import { describe, expect, it } from "vitest";
import { concatenate } from "../src/fifo.ts";
import { resample, Resampler } from "../src/resampler.ts";
import { agreementDb } from "../src/selftest.ts";
import { levelDb } from "../src/statistics.ts";
import { blocks, noise, tone } from "./signals.ts";

const MODEL_HZ = 16_000;
const DEVICE_RATES = [8_000, 22_050, 44_100, 48_000, 96_000, 192_000];

describe.each(DEVICE_RATES)("between %i Hz and the model's rate", (rateHz) => {
  it("does not depend on how the stream is cut", () => {
    const signal = noise(rateHz / 5);
    const whole = new Resampler(rateHz, MODEL_HZ).process(signal);
    const resampler = new Resampler(rateHz, MODEL_HZ);
    const pieces = [...blocks(signal, [1, 128, 17, 1000])].map((block) => resampler.process(block));
    expect(concatenate(pieces)).toEqual(whole);
  });

  it("passes a tone, in step, there and back", () => {
    const hertz = rateHz === 8_000 ? 1_000 : 3_000;
    const signal = tone(rateHz, hertz, rateHz);
    const back = resample(resample(signal, rateHz, MODEL_HZ), MODEL_HZ, rateHz);
    const middle = [rateHz / 4, (3 * rateHz) / 4] as const;
    expect(agreementDb(signal.subarray(...middle), back.subarray(...middle))).toBeGreaterThan(60);
  });

  it("is late by exactly what it says", () => {
    const resampler = new Resampler(rateHz, MODEL_HZ);
    const signal = tone(rateHz, 997, rateHz);
    const late = resampler.process(signal).subarray(4_000, 12_000);
    const expected = Float32Array.from(late, (_, index) =>
      Math.sin(2 * Math.PI * 997 * ((index + 4_000 - resampler.delaySamples) / MODEL_HZ)),
    );
    expect(agreementDb(expected, late)).toBeGreaterThan(60);
  });
});

it.each([44_100, 48_000, 96_000])("lets nothing above 8 kHz fold back from %i Hz", (rateHz) => {
  const folded = resample(tone(rateHz, 9_000, rateHz), rateHz, MODEL_HZ);
  expect(levelDb(folded.subarray(2_000, -2_000))).toBeLessThan(-70);
});

it("returns as many samples as the signal lasts", () => {
  expect(resample(new Float32Array(44_100), 44_100, MODEL_HZ).length).toBe(16_000);
  expect(resample(new Float32Array(0), 44_100, MODEL_HZ).length).toBe(0);
});
