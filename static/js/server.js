/* Requests to the server. A refusal carries the server's own sentence. */
import { all, one } from "./dom.js";

export class Refused extends Error {
  constructor(message, { status = 0, code = "unreachable", wait = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

export const token = () => one('meta[name="csrf-token"]').content;

const UNREACHABLE =
  "The server can’t be reached. Nothing was changed. Check the connection and try again.";
const LOST =
  "The connection broke, and it is not known whether this was done. Check the connection, " +
  "then load the page again to see.";

/** What became of a request when the server itself did not say so. */
function outcome(status, changes) {
  if (status < 500 || !changes) return "Nothing was changed. Try again.";
  return "It is not known whether this was done. Load the page again to see.";
}

/** Turn an error answer, whatever wrote it, into a Refused; `wait` is in seconds. */
export function refusal(status, text, retryAfter, changes = true) {
  const wait = Number(retryAfter) || 0;
  try {
    const { code, message } = JSON.parse(text).error;
    return new Refused(message, { status, code, wait });
  } catch {
    return new Refused(
      `The server answered with an error (${status}). ${outcome(status, changes)}`,
      { status, code: "error", wait },
    );
  }
}

async function answer(url, options) {
  const changes = options.method === "POST";
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused(changes ? LOST : UNREACHABLE);
  }
  if (!response.ok) {
    const after = response.headers.get("Retry-After");
    const text = await response.text().catch(() => "");
    throw refusal(response.status, text, after, changes);
  }
  return response;
}

/** Take over the token of a page, or a part of one, that was fetched just now. */
export function renewToken(fresh) {
  const head = one('meta[name="csrf-token"]', fresh)?.content;
  const value = head ?? one('input[name="csrf_token"]', fresh)?.value;
  if (!value) return;
  one('meta[name="csrf-token"]').content = value;
  for (const field of all('input[name="csrf_token"]')) field.value = value;
}

/** Send; once more if only the token is too old, as after a sign-in in another tab. */
export async function withToken(send) {
  try {
    return await send();
  } catch (error) {
    if (error.code !== "csrf") throw error;
    renewToken((await page(location.href)).document);
    return send();
  }
}

/** POST a form and give back the JSON answer. */
export async function post(url, fields) {
  const body = new URLSearchParams(fields);
  // It would be taken before the header, and be older.
  body.delete("csrf_token");
  const response = await withToken(() =>
    answer(url, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRFToken": token() },
      body,
    }),
  );
  return response.json().catch(() => {
    throw new Refused(LOST);
  });
}

/** Ask what an upload would meet: null, a Refused, or the answer that its key got. */
export async function ask(url, key, signal) {
  const headers = { Accept: "application/json", "Idempotency-Key": key };
  const response = await answer(url, { headers, signal });
  return response.status === 204 ? null : response.json();
}

/** Fetch another page of the site as a document. */
export async function page(url) {
  const response = await answer(url, { headers: { Accept: "text/html" } });
  const text = await response.text();
  return {
    url: response.url,
    document: new DOMParser().parseFromString(text, "text/html"),
  };
}
