/* Requests to the server. A refusal carries the server's own sentence. */
import { one } from "./dom.js";

export class Refused extends Error {
  constructor(message, { status = 0, code = "unreachable" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const token = () => one('meta[name="csrf-token"]').content;

export const UNREACHABLE =
  "The server can’t be reached. Nothing was changed. Check the connection and try again.";

/** Turn an error answer, whatever wrote it, into a Refused. */
export function refusal(status, text) {
  try {
    const { code, message } = JSON.parse(text).error;
    return new Refused(message, { status, code });
  } catch {
    return new Refused(
      `The server answered with an error (${status}). Nothing was changed. Try again.`,
      { status, code: "error" },
    );
  }
}

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused(UNREACHABLE);
  }
  if (!response.ok) throw refusal(response.status, await response.text());
  return response;
}

/** POST a form and give back the JSON answer. */
export async function post(url, fields) {
  const response = await answer(url, {
    method: "POST",
    headers: { Accept: "application/json", "X-CSRFToken": token() },
    body: new URLSearchParams(fields),
  });
  return response.json();
}

/** Ask something that is answered by yes (nothing) or by a Refused. */
export const ask = (url, signal) =>
  answer(url, { headers: { Accept: "application/json" }, signal });

/** Fetch another page of the site as a document. */
export async function page(url) {
  const response = await answer(url, { headers: { Accept: "text/html" } });
  const text = await response.text();
  return {
    url: response.url,
    document: new DOMParser().parseFromString(text, "text/html"),
  };
}
