/* Keeps the page for use without a network. FILES and VERSION are filled in when it is built. */
const FILES = __FILES__;
const CACHE = "truenet-__VERSION__";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const outdated = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith("truenet-") && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(outdated());
});

/* Isolated from other origins, of which the page needs nothing: clocks are exact then, and memory can be shared. */
function isolated(answer) {
  const { body, status, statusText, headers } = answer;
  if (!status) return answer; // a redirection, which the browser follows
  const added = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  return new Response(body, { status, statusText, headers: { ...Object.fromEntries(headers), ...added } });
}

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(self.registration.scope)) return;
  // hosts answer with Vary: Origin, and scripts are asked for with an origin that the cache was not
  const how = { ignoreSearch: true, ignoreVary: true };
  const answer = caches.open(CACHE).then((cache) => cache.match(event.request, how));
  event.respondWith(answer.then(async (found) => isolated(found ?? (await fetch(event.request)))));
});
