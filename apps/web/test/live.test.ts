import { expect, it } from "vitest";
import { concatenate } from "../src/fifo.ts";
import { LiveFrames, MOST_QUEUED_FRAMES, waitedFrames } from "../src/live.ts";
import type { Frame } from "../src/messages.ts";
import { blocks, noise } from "./signals.ts";

const HOP = 128;
const LATENCY = 384;
const WAITED_FRAMES = waitedFrames(0.01, 0.008);

/** A model that doubles its input, late by its latency as the real one is. */
function doubling(): (frame: Frame) => Frame {
  let held = new Float32Array(LATENCY);
  return ({ number, samples }) => {
    const line = concatenate([held, samples]);
    held = line.slice(HOP);
    return { number, samples: line.slice(0, HOP).map((sample) => 2 * sample) };
  };
}

function run(signal: Float32Array, lengths: number[], delivers: (number: number) => boolean, waited = WAITED_FRAMES) {
  const sent: Frame[] = [];
  const model = doubling();
  const live = new LiveFrames(HOP, LATENCY, waited, (frame) => sent.push(frame));
  const answers = [...blocks(signal, lengths)].flatMap((block) => {
    const made = live.process(block);
    for (const frame of sent.splice(0)) {
      const answer = model(frame);
      if (delivers(frame.number)) live.receive(answer);
    }
    return made;
  });
  return { live, before: concatenate(answers.map((a) => a.before)), after: concatenate(answers.map((a) => a.after)) };
}

it.each([[[43, 42, 43]], [[128]], [[1]], [[384]], [[1000]], [[100, 1024]]])("returns every frame once, in step, for blocks of %j", (lengths) => {
  const signal = noise(HOP * 50);
  const waited = waitedFrames(Math.max(...lengths), HOP);
  const { live, before, after } = run(signal, lengths, () => true, waited);
  const late = LATENCY + waited * HOP;
  expect(before.length).toBe(signal.length);
  expect(before.slice(late)).toEqual(signal.slice(0, -late));
  expect(live.missed).toBe(0);
  expect(after.slice(late + HOP)).toEqual(signal.slice(HOP, -late).map((sample) => 2 * sample));
});

it("plays the input where a frame is missing, without a jump", () => {
  const signal = new Float32Array(HOP * 40).fill(0.25);
  const { live, after } = run(signal, [HOP], (number) => number < 15 || number >= 25);
  expect(live.missed).toBe(10);
  expect(after[(22 + WAITED_FRAMES) * HOP]).toBeCloseTo(0.25);
  const jumps = after.slice(10 * HOP).map((sample, index, all) => Math.abs(sample - (all[index - 1] ?? sample)));
  expect(Math.max(...jumps)).toBeLessThan(0.01);
});

it("bounds its queue to a model that does not answer, and returns when it has caught up", () => {
  const sent: Frame[] = [];
  const live = new LiveFrames(HOP, LATENCY, WAITED_FRAMES, (frame) => sent.push(frame));
  for (let index = 0; index < 100; index++) live.process(noise(HOP));
  expect(sent.length).toBe(MOST_QUEUED_FRAMES);
  expect(live.overloaded).toBe(true);
  sent.splice(0).forEach((frame) => live.receive(frame));
  live.process(noise(HOP));
  expect(live.overloaded).toBe(false);
  expect(sent.map((frame) => frame.number)).toEqual([100]);
});

it("says so when the model keeps up but is always late", () => {
  const sent: Frame[] = [];
  const live = new LiveFrames(HOP, LATENCY, WAITED_FRAMES, (frame) => sent.push(frame));
  const busy = Array.from({ length: 300 }, () => {
    live.process(noise(HOP));
    if (sent.length > WAITED_FRAMES + 2) live.receive(sent.shift()!);
    return live.tooBusy;
  });
  expect(busy.indexOf(true)).toBeGreaterThan(50);
  expect(live.overloaded).toBe(false);
  for (let index = 0; index < 300; index++) {
    live.process(noise(HOP));
    sent.splice(0).forEach((frame) => live.receive(frame));
  }
  expect(live.tooBusy).toBe(false);
});

it("does not play what the model makes across the gap of an overload", () => {
  const sent: Frame[] = [];
  const model = doubling();
  const live = new LiveFrames(HOP, LATENCY, WAITED_FRAMES, (frame) => sent.push(frame));
  const signal = noise(HOP * 80);
  const answers = [...blocks(signal, [HOP])].flatMap((block, index) => {
    const made = live.process(block);
    if (index >= 40) sent.splice(0).forEach((frame) => live.receive(model(frame)));
    return made;
  });
  const [before, after] = [concatenate(answers.map((a) => a.before)), concatenate(answers.map((a) => a.after))];
  const wet = (40 + 1 + LATENCY / HOP + WAITED_FRAMES) * HOP;
  expect(after.slice(0, wet)).toEqual(before.slice(0, wet));
  expect(after.slice(wet + HOP)).toEqual(before.slice(wet + HOP).map((sample) => 2 * sample));
});
