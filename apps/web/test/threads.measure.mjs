/** One thread against two in the same runtime: calls take turns, so that what else the machine does meets both. */

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

/** `ask` sends a message to one of two workers, with one and two threads, and awaits the answer; returns lines of text. */
export async function measure([one, two], calls) {
  const lines = [];
  for (const [name, frames, rows] of CASES) {
    const times = [[], []];
    const sums = { power: 1e-30, error: 1e-30 };
    for (let call = 0; call < calls * (1 + WARM_UP); call++) {
      const audio = Float32Array.from({ length: rows * frames * HOP }, () => 0.2 * (Math.random() - 0.5));
      const made = [];
      for (const ask of [one, two]) {
        if (rows === 1) await new Promise((resume) => setTimeout(resume, PAUSE_MILLISECONDS));
        made.push(await ask({ audio, rows }));
      }
      if (call >= calls * WARM_UP) made.forEach(({ milliseconds }, index) => times[index].push(milliseconds));
      made[0].enhanced.forEach((sample, at) => {
        sums.power += sample ** 2;
        sums.error += (sample - made[1].enhanced[at]) ** 2;
      });
    }
    const [a, b] = times.map((values) => values.toSorted((x, y) => x - y));
    const at = (values, part) => values[Math.floor(part * values.length)];
    lines.push(
      `${name}: ${at(a, 0.5).toFixed(2)} and ${at(b, 0.5).toFixed(2)} ms, ratio ${(at(b, 0.5) / at(a, 0.5)).toFixed(2)}; ` +
        `99 % ${at(a, 0.99).toFixed(2)} and ${at(b, 0.99).toFixed(2)}; agree to ${(10 * Math.log10(sums.power / sums.error)).toFixed(0)} dB`,
    );
  }
  return lines;
}
