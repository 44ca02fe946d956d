/** WAV files of 32-bit floats: nothing clips, and Python reads exactly what the page had. */
export function writeWav(samples: Float32Array, sampleRateHz: number): Blob {
  const header = new DataView(new ArrayBuffer(58));
  const bytes = samples.length * 4;
  const word = (at: number, text: string): void =>
    [...text].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  word(0, "RIFF");
  header.setUint32(4, 50 + bytes, true);
  word(8, "WAVEfmt ");
  header.setUint32(16, 18, true);
  header.setUint16(20, 3, true); // IEEE float, which wants the `fact` chunk
  header.setUint16(22, 1, true);
  header.setUint32(24, sampleRateHz, true);
  header.setUint32(28, sampleRateHz * 4, true);
  header.setUint16(32, 4, true);
  header.setUint16(34, 32, true);
  word(38, "fact");
  header.setUint32(42, 4, true);
  header.setUint32(46, samples.length, true);
  word(50, "data");
  header.setUint32(54, bytes, true);
  return new Blob([header, samples as Float32Array<ArrayBuffer>], { type: "audio/wav" });
}
