/* One upload: the file as the raw body of a PUT, with its progress. */
import { ask, Refused, refusal, token, withToken } from "./server.js";

// Above this size the server is asked first: neither a refusal nor a lost answer
// should cost a transfer.
const ASK_FROM = 1_000_000;
// Below it, all may have left before the browser has told so.
const TOLD_FROM = 1_000_000;
const UNKNOWN = "It is not known whether the file was kept.";

export function newKey() {
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

/** Some of it has certainly not left, so that nothing can have been kept. */
const isCut = (file, share) => file.size >= TOLD_FROM && share < 1;

/** A file that was changed or removed meanwhile looks like a broken connection. */
async function breach(file, share) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    const gone = "The file was changed or removed while it waited. Choose it again.";
    return new Refused(gone, { code: "unreadable" });
  }
  const percent = Math.floor(share * 100);
  const came = isCut(file, share)
    ? "Nothing was changed. Try again."
    : `${UNKNOWN} Try again: it is not stored twice.`;
  return new Refused(`The connection broke at ${percent} %. ${came}`, { code: "broken" });
}

/** Send; resolves with the server's answer, rejects with a Refused. */
function put(url, file, { key, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let share = 0;
    request.upload.addEventListener("progress", ({ loaded }) => {
      share = file.size ? loaded / file.size : 1;
      onProgress(loaded);
    });
    request.addEventListener("load", () => {
      const { status, responseText } = request;
      if (status < 300) resolve(JSON.parse(responseText));
      else reject(refusal(status, responseText, request.getResponseHeader("Retry-After")));
    });
    request.addEventListener("error", async () => reject(await breach(file, share)));
    request.addEventListener("abort", () => {
      const came = isCut(file, share)
        ? "Nothing was kept."
        : `${UNKNOWN} Load the page again to see.`;
      reject(new Refused(`Cancelled. ${came}`, { code: "cancelled" }));
    });
    signal.addEventListener("abort", () => request.abort());
    request.open("PUT", url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", token());
    request.setRequestHeader("Idempotency-Key", key);
    request.send(file);
  });
}

/** Ask first if that pays, then send. */
export async function transfer(item, signal, onProgress) {
  const { key, file } = item;
  const { put: url, check } = address(item);
  const known = file.size >= ASK_FROM && (await ask(check, key, signal));
  return known || withToken(() => put(url, file, { key, signal, onProgress }));
}
