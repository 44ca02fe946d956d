import { defineConfig } from "vite";
import { truenetAssets } from "./packing/assets.ts";

export default defineConfig({
  base: "./", // any folder of any host
  publicDir: false,
  plugins: [truenetAssets()],
  worker: { format: "es" },
  build: {
    outDir: "../truenet_apps/page",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 200,
  },
});
