/* The tray at the lower right: what is being sent, how far, and how it ended. */
import { bytes, copy, fill, one, plural, say } from "./dom.js";
import { pace } from "./pace.js";
import { paused } from "./pause.js";
import {
  active, cancel, forget, forgetEnded, isOpen, items, onChange, retry,
} from "./queue.js";

const SHOWN = 20;
const STAY = 6000;
const tray = one("[data-tray]");
const lines = new Map();
let told = "";
let planned = false;
let rest;

const percent = (part, whole) => Math.floor((100 * part) / (whole || 1));
const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
const ended = (state) => items.filter((item) => item.state === state);

function note({ state, sent, file, message }) {
  if (state === "waiting") return `Waiting · ${bytes(file.size)}`;
  if (state === "done") return bytes(file.size);
  if (state !== "sending") return message;
  if (sent >= file.size) return "Sent. Being stored.";
  return `${percent(sent, file.size)} % · ${bytes(sent)} of ${bytes(file.size)}`;
}

function makeLine(item) {
  const line = copy("upload");
  line.addEventListener("click", (event) => {
    const act = event.target.closest("[data-upload]")?.dataset.upload;
    if (act === "retry") retry([item]);
    else if (act === "cancel") (isOpen(item) ? cancel : forget)(item);
  });
  lines.set(item, line);
  return line;
}

function showLine(item) {
  const line = lines.get(item) ?? makeLine(item);
  const open = isOpen(item);
  const button = one('[data-upload="cancel"]', line);
  const bar = one("progress", line);
  line.dataset.state = item.state;
  fill(line, { name: item.name, note: note(item) });
  bar.hidden = item.state !== "sending";
  bar.setAttribute("aria-label", `Sent of ${item.name}`);
  bar.value = item.sent / (item.file.size || 1);
  one('[data-upload="retry"]', line).hidden = item.state !== "failed";
  button.setAttribute("aria-label", `${open ? "Cancel" : "Remove from the list"}: ${item.name}`);
  return line;
}

/** With ten thousand files: what failed, what moves, and a few of the rest. */
function visible() {
  const failed = ended("failed");
  const done = [...ended("done"), ...ended("cancelled")].slice(-SHOWN);
  if (!active().length) return [...failed, ...done];
  const moving = [...ended("sending"), ...ended("waiting").slice(0, SHOWN)];
  const keep = new Set([...failed, ...moving, ...done]);
  return items.filter((item) => keep.has(item));
}

function outcome() {
  const parts = [[ended("done"), "uploaded"], [ended("failed"), "failed"], [ended("cancelled"), "cancelled"]];
  const [first, ...rest] = parts.filter(([list]) => list.length);
  const words = ([list, word]) => `${list.length} ${word}`;
  if (!first) return "Uploads";
  return [`${plural(first[0].length, "file", "files")} ${first[1]}`, ...rest.map(words)].join(", ");
}

function showHead() {
  const counted = items.filter((item) => item.state !== "cancelled" && item.state !== "failed");
  const total = sum(counted, (item) => item.file.size);
  const sent = sum(counted, (item) => item.sent);
  const open = active().length;
  const title = open ? `Uploading ${plural(open, "file", "files")}` : outcome();
  const { speed, left } = pace(sent, total, open > 0 && !paused());
  const line = [`${bytes(sent)} of ${bytes(total)}`, open && speed, open && left];
  fill(tray, { title, total: line.filter(Boolean).join(" · ") });
  const bar = one("[data-field=bar]", tray);
  bar.hidden = !open;
  one("[data-tray-retry]", tray).hidden = open > 0 || ended("failed").length < 2;
  bar.value = total ? sent / total : 0;
  one("[data-tray-close]", tray).setAttribute(
    "aria-label", open ? "Cancel all uploads" : "Close the list of uploads");
  const going = open ? `Uploading to ${items.at(-1).folder.name}.` : outcome();
  const news = paused()?.sentence ?? going;
  if (items.length && news !== told) {
    say((told = news));
    settle();
  }
}

function showPause() {
  const box = one("[data-tray-pause]", tray);
  const pause = paused();
  box.hidden = !pause;
  if (pause) fill(box, { pause: pause.sentence });
  one("a", box).hidden = !pause?.signIn;
}

function show() {
  planned = false;
  tray.hidden = items.length === 0;
  if (tray.hidden) told = "";
  const list = one("[data-tray-lines]", tray);
  const shown = visible().map(showLine);
  if (shown.length !== list.children.length || shown.some((line, at) => list.children[at] !== line)) {
    list.replaceChildren(...shown);
  }
  for (const item of lines.keys()) if (!items.includes(item)) lines.delete(item);
  showHead();
  showPause();
}

function plan() {
  if (!planned) requestAnimationFrame(show);
  planned = true;
}

function close() {
  for (const item of active()) cancel(item);
  if (!active().length) forgetEnded();
}

function fold(folded) {
  tray.classList.toggle("is-folded", folded);
  one("[data-tray-fold]").setAttribute("aria-expanded", String(!folded));
}

/** When all went well, the list makes room after a while. */
function settle() {
  clearTimeout(rest);
  if (active().length) fold(false);
  else if (items.every((item) => item.state === "done")) {
    rest = setTimeout(() => tray.matches(":hover, :focus-within") || fold(true), STAY);
  }
}

if (tray) {
  onChange(plan);
  one("[data-tray-go-on]").addEventListener("click", () => retry([]));
  one("[data-tray-retry]").addEventListener("click", () => retry(ended("failed")));
  one("[data-tray-close]").addEventListener("click", close);
  one("[data-tray-fold]").addEventListener("click", () =>
    fold(!tray.classList.contains("is-folded")));
}
