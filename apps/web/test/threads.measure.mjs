/**
 * One thread against two in the same runtime, and against two workers of one thread each that take the rows of a file
 * between them. They take turns, a call each, so that what else the machine does meets all of them.
 */

const HOP = 128;
const PAUSE_MILLISECONDS = 4; // between a microphone's frames
const WARM_UP = 0.25; // of the calls
const CASES = [
  ["microphone, 1 frame a call", 1, 1],
  ["microphone, 4 frames a call", 4, 1],
  ["microphone, 8 frames a call", 8, 1],
  ["file, voice and room, 16 frames a call", 16, 2],
  ["file, voice and room, 64 frames a call", 64, 2],
];

/** Each `ask` sends a message to one of three workers, of one, two and one threads, and awaits the answer; returns lines of text. */
export async function measure([one, two, other], framesACase) {
  const ways = {
    "two threads": ({ audio, rows }) => two({ audio, faders: faders(rows) }),
    "two workers": async ({ audio, rows }) => {
      const half = audio.length / 2;
      const parts = [0, 1].map((row) => ({ audio: audio.slice(row * half, (row + 1) * half), faders: faders(rows).slice(3 * row, 3 * row + 3) }));
      const [voice, room] = await Promise.all([one(parts[0]), other(parts[1])]);
      return new Float32Array([...voice, ...room]);
    },
  };
  const lines = [];
  for (const [name, frames, rows] of CASES) {
    const contenders = [({ audio }) => one({ audio, faders: faders(rows) }), ways["two threads"]];
    if (rows === 2) contenders.push(ways["two workers"]);
    lines.push(`${name}: ${await turns(contenders, frames, rows, framesACase / frames)}`);
  }
  return lines;
}

/** Voice, then room. */
function faders(rows) {
  return Float32Array.from({ length: 3 * rows }, (_, index) => Number(index % 4 === 0));
}

async function turns(contenders, frames, rows, calls) {
  const times = contenders.map(() => []);
  let [power, error] = [1e-30, 1e-30];
  for (let call = 0; call < calls * (1 + WARM_UP); call++) {
    const audio = Float32Array.from({ length: rows * frames * HOP }, () => 0.2 * (Math.random() - 0.5));
    const made = [];
    for (const [index, run] of contenders.entries()) {
      if (rows === 1) await new Promise((resume) => setTimeout(resume, PAUSE_MILLISECONDS));
      const began = performance.now();
      made.push(await run({ audio, rows }));
      if (call >= calls * WARM_UP) times[index].push((performance.now() - began) / frames);
    }
    for (const others of made.slice(1)) {
      others.forEach((sample, at) => (error += (sample - made[0][at]) ** 2));
      made[0].forEach((sample) => (power += sample ** 2));
    }
  }
  const sorted = times.map((values) => values.toSorted((a, b) => a - b));
  const at = (part) => sorted.map((values) => values[Math.floor(part * values.length)]);
  const list = (values) => values.map((value) => value.toFixed(2)).join(", ");
  const ratios = at(0.5).map((value) => value / at(0.5)[0]);
  return `median ${list(at(0.5))} ms a frame, ratio ${list(ratios)}; 99 % ${list(at(0.99))}; agree to ${(10 * Math.log10(power / error)).toFixed(0)} dB`;
}
