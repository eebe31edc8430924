/* The queue of uploads: a few at a time, each with an end of its own. */
import { forgetChoices, settle } from "./conflict.js";
import { refresh } from "./listing.js";
import { lift, paused, relax, waitFor, waitForSession } from "./pause.js";
import { newKey, transfer } from "./transfer.js";

const AT_ONCE = 3;
const TRIES = 4;
const OPEN = new Set(["waiting", "sending"]);
// Throttled, or an instance, its database or its storage is away for a moment.
const BUSY = new Set([429, 502, 503, 504]);
const isAway = ({ code, status }) =>
  code === "broken" || code === "unreachable" || BUSY.has(status);
/** The server has looked at it and said no; of all else nobody knows what came of it. */
const isRefused = ({ status }) =>
  status >= 400 && status < 500 && status !== 401 && !BUSY.has(status);

export const items = [];
let watch = () => {};

export const onChange = (tell) => (watch = tell);
export const isOpen = (item) => OPEN.has(item.state);
export const active = () => items.filter(isOpen);
/** What a pause is for. */
const isHeld = ({ state, status }) =>
  state === "waiting" || (state === "failed" && status === 401);
const held = () => items.filter(isHeld);
const endPause = () => held().length || lift();
const count = (state) => items.filter((item) => item.state === state).length;

async function send(item) {
  const { signal } = (item.stop = new AbortController());
  const onProgress = (sent) => {
    item.sent = Math.min(sent, item.file.size);
    watch();
  };
  for (;;) {
    try {
      return await transfer(item, signal, onProgress);
    } catch (error) {
      if (error.code !== "name_taken") throw error;
      Object.assign(item, { sent: 0, others: active().length > 1 });
      await settle(item, error);
      item.key = newKey();
    }
  }
}

/** Say how it ended, or let it wait with all the others. */
function stumble(item, { status, code, message, wait }) {
  const stopped = item.stop.signal.aborted || code === "cancelled";
  Object.assign(item, { state: "failed", status, message, sent: 0 });
  if (stopped) {
    item.state = "cancelled";
    if (code !== "cancelled") item.message = "Cancelled.";
  } else if (status === 401) waitForSession();
  else if (isAway({ code, status })) {
    item.tries += 1;
    if (item.tries < TRIES) item.state = "waiting";
    waitFor({ status, wait }, advance);
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
    relax();
  } catch (error) {
    stumble(item, error);
  }
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
  endPause();
  const free = paused() ? 0 : AT_ONCE - count("sending");
  for (const item of waiting.slice(0, Math.max(free, 0))) run(item);
  const finished = active().length === 0;
  if (finished) {
    forgetChoices();
    relax();
  }
  if (count("done")) showArrived(finished);
  watch();
}

export function add(files, folder) {
  for (const file of files) {
    const { name } = file;
    items.push({ file, folder, name, key: newKey(), state: "waiting", sent: 0, tries: 0 });
  }
  advance();
}

export function cancel(item) {
  item.stop?.abort();
  if (item.state === "waiting") {
    item.state = "cancelled";
    item.message = "Cancelled.";
    advance();
  }
}

/** Send again, with all that waits, at once. What may have arrived keeps its key, so that
    it is not stored twice; what was refused is asked about anew. */
export async function retry(list) {
  for (const item of new Set([...list, ...held()])) {
    if (isRefused(item)) {
      Object.assign(item, { key: newKey(), choice: undefined, replace: false });
    }
    Object.assign(item, { state: "waiting", tries: 0 });
  }
  watch();
  // A new session has a new token, and it comes with the page.
  if (paused()?.signIn ?? true) await refresh().catch(() => {});
  lift();
  advance();
}

function leave(list) {
  items.splice(0, items.length, ...list);
  endPause();
  watch();
}

export const forget = (item) => leave(items.filter((other) => other !== item));
export const forgetEnded = () => leave(active());
