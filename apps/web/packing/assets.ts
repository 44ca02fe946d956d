/**
 * What the page needs besides its own code, put beside it: the runtime, compressed; the model file
 * and the samples, as they are in the repository; and the service worker that keeps all of it.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";

const WEB = new URL("../", import.meta.url);
const ROOT = new URL("../../", WEB);
const RUNTIME = new URL("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm", WEB);

export function truenetAssets(): Plugin {
  const files = assets();
  const size = (name: string): number => files.get(name)!.length;
  const total = [...files.values()].reduce((sum, file) => sum + file.length, 0);
  return {
    name: "truenet-assets",
    config: () => ({
      define: {
        __WASM_BYTES__: size("onnxruntime.wasm.gz"),
        __MODEL_BYTES__: size("truenet.onnx"),
        __FIRST_LOAD_BYTES__: total,
      },
    }),
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        // onnxruntime-web's own copy of the runtime, 14 MB: the page brings the compressed one
        for (const name of Object.keys(bundle)) if (name.endsWith(".wasm")) delete bundle[name];
        for (const [fileName, source] of files) this.emitFile({ type: "asset", fileName, source });
        const built = Object.values(bundle).map((file) => ("code" in file ? file.code : file.source));
        const names = ["./", ...new Set([...Object.keys(bundle), ...files.keys()])];
        const source = serviceWorker(names, [...built, ...files.values()]);
        this.emitFile({ type: "asset", fileName: "service-worker.js", source });
      },
    },
  };
}

function assets(): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  files.set("onnxruntime.wasm.gz", gzipSync(readFileSync(RUNTIME), { level: 9 }));
  files.set("truenet.onnx", readFileSync(new URL("truenet/models/truenet.onnx", ROOT)));
  files.set("selftest.json", readFileSync(new URL("selftest.json", WEB)));
  const samples = new URL("samples/", ROOT);
  for (const name of readdirSync(samples).filter((name) => name.endsWith(".flac"))) {
    files.set(`samples/${name}`, readFileSync(new URL(name, samples)));
  }
  return files;
}

function serviceWorker(names: string[], contents: (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  contents.forEach((content) => hash.update(content));
  return readFileSync(new URL("service-worker.js", import.meta.url), "utf8")
    .replace("__FILES__", JSON.stringify(names.filter((name) => name !== "index.html")))
    .replace("__VERSION__", hash.digest("hex").slice(0, 16));
}
