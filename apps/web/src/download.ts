/** Fetching what the page needs, with progress, and unpacking what is stored compressed. */

const GZIP = [0x1f, 0x8b];
const WASM = [0x00, 0x61, 0x73, 0x6d];

/** Fetches a file; `progress` gets the bytes so far. Throws an Error in words for people. */
export async function download(
  url: string,
  name: string,
  progress: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const answer = await fetch(url).catch(() => undefined);
  if (!answer) throw new Error(`${name} could not be fetched: no connection to this page's host.`);
  if (!answer.ok || !answer.body) throw new Error(`${name} is missing from this host (${answer.status}).`);
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    progress((bytes += value.length));
  }
  return joined(pieces, bytes);
}

/**
 * The runtime, unpacked; a host that has already done so (Content-Encoding) is no trouble. Throws an Error in words
 * for people where it is no WebAssembly.
 */
export async function unpackedRuntime(file: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const runtime = begins(file, GZIP) ? await gunzipped(file).catch(() => undefined) : file.buffer;
  if (!runtime || !begins(new Uint8Array(runtime), WASM)) {
    throw new Error("The runtime is damaged, or this page's host sends something else in its place.");
  }
  return runtime;
}

function begins(file: Uint8Array, mark: number[]): boolean {
  return mark.every((byte, index) => file[index] === byte);
}

function gunzipped(file: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([file]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function joined(pieces: Uint8Array[], bytes: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    result.set(piece, at);
    at += piece.length;
  }
  return result;
}
