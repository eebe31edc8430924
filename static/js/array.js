/* The array page renews itself: what changed is put in place, the rest is left alone. */
import { all, fill, one, say } from "./dom.js";
import { page, renewToken, token } from "./server.js";
import { clock, showTimes } from "./time.js";

const SECONDS = 3;
const PATIENCE = 3;
const place = one("[data-renew]");
const notice = one("[data-stale]");
let renewed = new Date();
let failures = 0;

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

/** Put in place what has changed; false when the server shows another page instead. */
async function renew() {
  const { document: fresh } = await page(place.dataset.renew);
  if (!one("[data-renewed]", fresh)) return false;
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
  return true;
}

/** Say since when the page stands still, until it goes on. */
function tell() {
  const stale = failures >= PATIENCE;
  if (notice.hidden !== stale) return;
  notice.hidden = !stale;
  if (!stale) return;
  const advice = "What is shown may have changed. Load the page again to see.";
  fill(notice, { stale: `Not renewed since ${clock(renewed)}. ${advice}` });
  say(notice.textContent.trim());
}

async function step() {
  if (!document.hidden) {
    try {
      // The server may be away for a moment; a session that has ended stays so.
      failures = (await renew()) ? 0 : PATIENCE;
    } catch {
      failures += 1;
    }
    if (!failures) renewed = new Date();
    tell();
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
