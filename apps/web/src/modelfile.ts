/**
 * What a model file says of itself: the `metadata_props` of an ONNX file, which onnxruntime-web
 * does not show. An ONNX file is one protobuf message, so a walk over its top fields suffices.
 */

const METADATA_PROPS = 14; // field of ModelProto
const HIGHEST_FORMAT = 1;

/** Lengths in samples at `sampleRateHz`. */
export interface ModelInfo {
  name: string;
  version: string;
  precision: string;
  sampleRateHz: number;
  hopSamples: number;
  windowSamples: number;
  latencySamples: number;
  stateSize: number;
  weightsSha256: string;
}

/** Reads the constants of a truenet model; throws an Error in words for people. */
export function readModelInfo(file: Uint8Array): ModelInfo {
  let entries: Map<string, string>;
  try {
    entries = metadata(file);
  } catch {
    throw new Error("The model file is damaged, or is not an ONNX file.");
  }
  const format = entries.get("truenet_format");
  if (format === undefined) throw new Error("The model file is damaged, or not a truenet model.");
  if (!(Number(format) <= HIGHEST_FORMAT)) {
    throw new Error(`The model file has format ${format}; this page reads up to ${HIGHEST_FORMAT}.`);
  }
  return {
    name: text(entries, "name"),
    version: text(entries, "version"),
    precision: text(entries, "precision"),
    sampleRateHz: positive(entries, "sample_rate_hz"),
    hopSamples: positive(entries, "hop_samples"),
    windowSamples: positive(entries, "window_samples"),
    latencySamples: positive(entries, "latency_samples"),
    stateSize: positive(entries, "state_size"),
    weightsSha256: text(entries, "weights_sha256"),
  };
}

function text(entries: Map<string, string>, key: string): string {
  const value = entries.get(key);
  if (value === undefined) throw new Error(`The model file's metadata lacks ${key}.`);
  return value;
}

function positive(entries: Map<string, string>, key: string): number {
  const value = Number(text(entries, key));
  if (!Number.isInteger(value) || value <= 0) {
    throw new Error(`The model file's metadata gives ${key} as ${entries.get(key)}.`);
  }
  return value;
}

function metadata(file: Uint8Array): Map<string, string> {
  const entries = new Map<string, string>();
  for (const [field, body] of fields(file)) {
    if (field !== METADATA_PROPS) continue;
    const pair = new Map([...fields(body)].map(([key, value]) => [key, new TextDecoder().decode(value)]));
    entries.set(pair.get(1) ?? "", pair.get(2) ?? "");
  }
  return entries;
}

/** The length-delimited fields of a protobuf message; others are passed over. */
function* fields(message: Uint8Array): Generator<[number, Uint8Array]> {
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[position++];
      if (byte === undefined || scale > 2 ** 63) throw new Error("cut off");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const skip: Record<number, () => number> = { 0: () => (varint(), 0), 1: () => 8, 5: () => 4, 2: varint };
  while (position < message.length) {
    const key = varint();
    const length = skip[key % 8]?.();
    if (length === undefined || position + length > message.length) throw new Error("damaged");
    if (key % 8 === 2) yield [Math.floor(key / 8), message.subarray(position, position + length)];
    position += length;
  }
}
