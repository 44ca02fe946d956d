import { defineConfig } from "vitest/config";

// A busy machine with two cores takes its time: every wait is for something, and may be long.
export default defineConfig({
  test: { include: ["test/*.page.ts"], testTimeout: 1_800_000, hookTimeout: 600_000, fileParallelism: false },
});
