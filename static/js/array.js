/* The array page renews itself: what changed is put in place, the rest is left alone. */
import { all, one, say } from "./dom.js";
import { page, renewToken, token } from "./server.js";
import { showTimes } from "./time.js";

const SECONDS = 3;
const place = one("[data-renew]");

/** Somebody who writes, chooses or has something open must not be disturbed. */
function isHeld(part) {
  return part.contains(document.activeElement) || one("details[open]", part) !== null;
}

/** Make what differs in every answer the same: the words of times, and the tokens. */
function settle(fresh) {
  showTimes(fresh);
  for (const input of all("input[name=csrf_token]", fresh)) {
    input.setAttribute("value", token());
  }
}

async function renew() {
  const { document: fresh } = await page(place.dataset.renew);
  const heading = one("h1").textContent;
  renewToken(fresh);
  settle(fresh);
  settle(place);
  for (const part of all("[data-renewed]", place)) {
    const other = one(`[data-renewed="${part.dataset.renewed}"]`, fresh);
    if (!other || part.isEqualNode(other) || isHeld(part)) continue;
    part.replaceChildren(...other.childNodes);
  }
  if (one("h1").textContent !== heading) say(one("h1").textContent);
}

async function step() {
  try {
    if (!document.hidden) await renew();
  } catch {
    // The server may be away for a moment: what is shown stays, and the next one asks.
  }
  setTimeout(step, SECONDS * 1000);
}

if (place) setTimeout(step, SECONDS * 1000);

for (const pace of all("[data-pace]")) {
  const slider = one("input[type=range]", pace);
  const number = one("input[type=number]", pace);
  slider.addEventListener("input", () => (number.value = slider.value));
  number.addEventListener("input", () => (slider.value = number.value));
}
