/* One upload: the file as the raw body of a PUT, with its progress. */
import { Refused, refusal, token } from "./server.js";

const broken = (share) =>
  new Refused(
    `The connection broke at ${Math.floor(share * 100)} %. Nothing was changed. Try again.`,
    { code: "broken" },
  );

/** Send; resolves with the server's answer, rejects with a Refused. */
export function transfer(url, file, { key, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let share = 0;
    request.upload.addEventListener("progress", ({ loaded }) => {
      share = file.size ? loaded / file.size : 1;
      onProgress(loaded);
    });
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(refusal(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(broken(share)));
    request.addEventListener("abort", () =>
      reject(new Refused("Cancelled. Nothing was kept.", { code: "cancelled" })),
    );
    signal.addEventListener("abort", () => request.abort());
    request.open("PUT", url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", token());
    request.setRequestHeader("Idempotency-Key", key);
    request.send(file);
  });
}
