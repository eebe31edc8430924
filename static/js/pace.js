/* How fast, and how long still: over the last seconds, so that it does not jump. */
import { bytes } from "./dom.js";

const WINDOW = 8000;
let samples = [];

function words(seconds) {
  if (seconds < 60) return `${Math.max(Math.ceil(seconds), 1)} s left`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min left`;
  return `${(seconds / 3600).toFixed(1)} h left`;
}

/** Give {speed, left} in words, empty until there is something to go by. */
export function pace(sent, total, running) {
  const now = performance.now();
  if (!running || sent < (samples.at(-1)?.sent ?? 0)) samples = [];
  samples.push({ now, sent });
  samples = samples.filter((sample) => now - sample.now < WINDOW);
  const [first] = samples;
  const rate = (1000 * (sent - first.sent)) / (now - first.now || 1);
  if (now - first.now < 400 || rate <= 0) return { speed: "", left: "" };
  return { speed: `${bytes(rate)}/s`, left: words((total - sent) / rate) };
}
