/* Times in the reader's own zone and words; the exact time stays on hover. */
import { all } from "./dom.js";

// The page's language, in the reader's variety of it: 11 Nov 2026 or Nov 11, 2026.
const { lang } = document.documentElement;
const language = navigator.languages.find((each) => each.startsWith(lang)) ?? lang;
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "medium" });
const hour = new Intl.DateTimeFormat(language, { timeStyle: "short" });
const STEPS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

function words(moment) {
  const seconds = (moment - Date.now()) / 1000;
  if (Math.abs(seconds) < 45) return "just now";
  if (Math.abs(seconds) > 7 * 86400) return day.format(moment);
  const [unit, length] = STEPS.find(([, size]) => Math.abs(seconds) >= size) ?? STEPS.at(-1);
  return relative.format(Math.round(seconds / length), unit);
}

export const clock = (moment) => hour.format(moment);

export function showTimes(root = document) {
  for (const element of all("time[datetime]", root)) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    element.textContent = words(moment);
    element.title = exact.format(moment);
  }
}

showTimes();
document.addEventListener("refreshed", () => showTimes());
setInterval(() => showTimes(), 60_000);
