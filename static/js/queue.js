/* The queue of uploads: a few at a time, each with an end of its own. */
import { forgetChoices, settle } from "./conflict.js";
import { refresh } from "./listing.js";
import { ask } from "./server.js";
import { transfer } from "./transfer.js";

const AT_ONCE = 3;
// Above this size the server is asked first: neither a refusal nor a lost answer
// should cost a transfer.
const ASK_FROM = 1_000_000;
const OPEN = new Set(["waiting", "sending"]);

export const items = [];
let watch = () => {};

export const onChange = (tell) => (watch = tell);
export const isOpen = (item) => OPEN.has(item.state);
export const active = () => items.filter(isOpen);
const count = (state) => items.filter((item) => item.state === state).length;

function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function address(item) {
  const folder = `/files/folder/${item.folder.id}`;
  const query = item.replace ? "?replace=1" : "";
  return {
    put: `${folder}/${encodeURIComponent(item.name)}${query}`,
    check: `${folder}/check?${new URLSearchParams({
      name: item.name,
      size: item.file.size,
      ...(item.replace && { replace: 1 }),
    })}`,
  };
}

async function attempt(item, signal) {
  const { put, check } = address(item);
  const known = item.file.size >= ASK_FROM && (await ask(check, item.key, signal));
  if (known) return known;
  const onProgress = (sent) => {
    item.sent = Math.min(sent, item.file.size);
    watch();
  };
  return transfer(put, item.file, { key: item.key, signal, onProgress });
}

async function send(item) {
  const { signal } = (item.stop = new AbortController());
  for (;;) {
    try {
      return await attempt(item, signal);
    } catch (error) {
      if (error.code !== "name_taken") throw error;
      Object.assign(item, { sent: 0, others: active().length > 1 });
      await settle(item, error);
      item.key = newKey();
    }
  }
}

async function run(item) {
  item.state = "sending";
  item.message = "";
  watch();
  try {
    item.answer = await send(item);
    item.sent = item.file.size;
    item.state = "done";
  } catch (error) {
    const stopped = item.stop.signal.aborted || error.code === "cancelled";
    item.state = stopped ? "cancelled" : "failed";
    item.message = stopped && error.code !== "cancelled" ? "Cancelled." : error.message;
    item.status = error.status;
    item.sent = 0;
  }
  watch();
  advance();
}

let due = 0;

/** Show what has arrived, but not a thousand times for a thousand files. */
function showArrived(finished) {
  if (!finished && Date.now() < due) return;
  due = Date.now() + 2000;
  refresh().catch(() => {});
}

function advance() {
  const waiting = items.filter((item) => item.state === "waiting");
  const free = AT_ONCE - count("sending");
  for (const item of waiting.slice(0, Math.max(free, 0))) run(item);
  const finished = active().length === 0;
  if (finished) forgetChoices();
  if (count("done")) showArrived(finished);
}

export function add(files, folder) {
  for (const file of files) {
    items.push({ file, folder, name: file.name, key: newKey(), state: "waiting", sent: 0 });
  }
  watch();
  advance();
}

export function cancel(item) {
  item.stop?.abort();
  if (item.state === "waiting") {
    item.state = "cancelled";
    item.message = "Cancelled.";
    watch();
    advance();
  }
}

/** The server has looked at it and said no; of all else nobody knows what came of it. */
const isRefused = ({ status }) => status >= 400 && status < 500 && status !== 401;

/** Send again. What may have arrived keeps its key, so that it is not stored twice; what
    was refused is asked about anew. */
export async function retry(list) {
  for (const item of list) {
    if (isRefused(item)) {
      Object.assign(item, { key: newKey(), choice: undefined, replace: false });
    }
    item.state = "waiting";
  }
  watch();
  // A new session has a new token, and it comes with the page.
  await refresh().catch(() => {});
  advance();
}

export function forget(item) {
  items.splice(items.indexOf(item), 1);
  watch();
}

export function forgetEnded() {
  items.splice(0, items.length, ...active());
  watch();
}

addEventListener("beforeunload", (event) => {
  if (active().length) event.preventDefault();
});
