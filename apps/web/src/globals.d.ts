/** Sizes known when the page is built, in bytes. */
declare const __WASM_BYTES__: number;
declare const __MODEL_BYTES__: number;
declare const __FIRST_LOAD_BYTES__: number;
