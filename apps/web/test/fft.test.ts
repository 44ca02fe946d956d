import { expect, it } from "vitest";
import { PowerSpectrum } from "../src/fft.ts";
import { noise } from "./signals.ts";

it.each([8, 64, 512])("is the windowed Fourier transform of %i samples, again and again", (size) => {
  const spectrum = new PowerSpectrum(size);
  for (const signal of [noise(size, 1), noise(size, 2)]) {
    const wanted = Array.from({ length: size / 2 }, (_, bin) => {
      let [real, imaginary] = [0, 0];
      signal.forEach((sample, index) => {
        const windowed = (sample * (1 - Math.cos((2 * Math.PI * index) / size))) / size;
        real += windowed * Math.cos((2 * Math.PI * bin * index) / size);
        imaginary -= windowed * Math.sin((2 * Math.PI * bin * index) / size);
      });
      return real ** 2 + imaginary ** 2;
    });
    const most = Math.max(...wanted);
    spectrum.of(signal).forEach((power, bin) => expect(Math.abs(power - wanted[bin]!)).toBeLessThan(1e-5 * most));
  }
});
