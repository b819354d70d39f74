/**
 * Service worker: keeps a copy of every file of the site, so that the page works offline once it is loaded.
 *
 * `files.js` sets `FER_SITE`: the names of all files and a version that changes if any of them does. The copies of a
 * version are complete or absent, and a page uses the files of one version only: a newer one waits until all pages of
 * this site are closed.
 */

/**
 * @typedef {{version: string, files: string[]}} SiteFiles
 */

const worker = /** @type {ServiceWorkerGlobalScope & {FER_SITE: SiteFiles}} */ (/** @type {unknown} */ (self));

importScripts("files.js");

const { scope } = worker.registration;

/** Start of the names of our caches; other sites of the same host have others. */
const PREFIX = `fer-page ${scope} `;
const NAME = PREFIX + worker.FER_SITE.version;

/** Copy all files; bytes that the browser has are used if the server confirms them. */
async function copyFiles() {
  const cache = await caches.open(NAME);
  const names = ["./", ...worker.FER_SITE.files];
  await cache.addAll(names.map((name) => new Request(new URL(name, scope), { cache: "no-cache" })));
}

/** Delete the copies of earlier versions, and serve pages that were loaded before this worker. */
async function takeOver() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

/**
 * Return the copy of a file, or what the server says.
 *
 * The headers isolate the page from other origins, which lets ONNX Runtime use several threads.
 * @param {Request} request
 * @returns {Promise<Response>}
 */
async function respond(request) {
  const cache = await caches.open(NAME);
  const copy = await cache.match(request, { ignoreSearch: true });
  if (copy === undefined) return fetch(request);
  const headers = new Headers(copy.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(copy.body, { status: copy.status, headers });
}

worker.addEventListener("install", (event) => event.waitUntil(copyFiles()));
worker.addEventListener("activate", (event) => event.waitUntil(takeOver()));
worker.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(scope)) event.respondWith(respond(event.request));
});
