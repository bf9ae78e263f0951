// What the pages need in the browser: the feed, the values bound to it, and what people set for themselves.
// One message a second holds what changed; nothing is ever sent twice except after a lost connection.

const root = document.documentElement;
export const language = root.lang;
const words = JSON.parse(document.getElementById("twin-words").textContent);
const setting = JSON.parse(document.getElementById("twin-page").textContent);
/** Of the site: the same for all who look, wherever they sit. */
export const zone = setting.zone;
const formats = new Map();

export function word(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

export function number(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits).format(Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).replace("-", "−");
}

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${number(seconds, 0)} s`;
  return seconds < 5400 ? `${number(seconds / 60, 0)} min` : `${number(seconds / 3600, 1)} h`;
}

export function clock(milliseconds, withDate = false) {
  if (!milliseconds) return "–";
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone };
  if (withDate) Object.assign(options, { day: "2-digit", month: "2-digit", year: "numeric" });
  return new Date(milliseconds).toLocaleString(language, options);
}

// ---------------------------------------------------------------- values

const state = { values: {}, texts: {}, now: null };
const listeners = new Set();
/** Calls back with every message of the feed. */
export function onMessage(listener) { listeners.add(listener); }

function put(element, text) {
  const node = element.firstChild;
  if (node && node.nodeType === Node.TEXT_NODE && !node.nextSibling) {
    if (node.nodeValue !== text) node.nodeValue = text;
  } else if (element.textContent !== text) element.textContent = text;
}

function place(track, values) {
  const low = Number(track.dataset.low), high = Number(track.dataset.high);
  const at = (value) => `${Math.min(100, Math.max(0, (100 * (value - low)) / (high - low)))}%`;
  const known = (value) => value !== null && value !== undefined;
  const [read, said, band] = [".read", ".said", ".band"].map((name) => track.querySelector(name));
  read?.classList.toggle("hide", !known(values.m));
  said?.classList.toggle("hide", !known(values.p));
  band?.classList.toggle("hide", !known(values.lo) || !known(values.hi));
  if (read && known(values.m)) read.style.left = at(values.m);
  if (said && known(values.p)) said.style.left = at(values.p);
  if (band && known(values.lo) && known(values.hi)) {
    band.style.left = at(values.lo);
    band.style.width = `calc(${at(values.hi)} - ${at(values.lo)})`;
  }
}

function show() {
  for (const element of document.querySelectorAll("[data-v]")) {
    const [key, field] = element.dataset.v.split("|");
    const value = state.values[key]?.[field ?? "m"];
    const known = value !== null && value !== undefined;
    const text = element.dataset.age ? age(known && state.now ? Math.max(0, (state.now - value) / 1000) : null) : number(value, Number(element.dataset.d ?? 1));
    // a prefix such as "±" goes with its number or not at all
    if (element.dataset.before !== undefined) put(element, known ? element.dataset.before + text : "");
    else put(element, element.dataset.sign && value > 0 ? `+${text}` : text);
  }
  for (const element of document.querySelectorAll("[data-state-of]")) {
    const said = state.values[element.dataset.stateOf];
    if (said) element.dataset.state = said.s;
  }
  for (const track of document.querySelectorAll("[data-track]")) {
    const said = state.values[track.dataset.track];
    if (said) place(track, said);
  }
  for (const element of document.querySelectorAll("[data-x]")) {
    const said = state.texts[element.dataset.x];
    if (said === undefined) continue;
    put(element, said.x);
    if (element.dataset.class !== undefined) element.className = `${element.dataset.class} ${said.c ?? ""}`.trim();
    if (said.k !== undefined) element.dataset.kind = said.k;
  }
  for (const element of document.querySelectorAll("[data-kind-of]")) {
    const said = state.texts[element.dataset.kindOf];
    if (said) element.dataset.kind = said.k ?? "";
  }
  for (const element of document.querySelectorAll("[data-href-of]")) {
    const target = state.texts[element.dataset.hrefOf]?.h;
    element.classList.toggle("hidden", !target);
    if (target) element.setAttribute("href", target);
  }
  for (const element of document.querySelectorAll("[data-clock]")) put(element, clock(state.now, element.dataset.clock === "date"));
  for (const element of document.querySelectorAll("[data-show]")) {
    element.classList.toggle("hidden", !state.texts[element.dataset.show]?.x);
  }
}

function take(message) {
  if (message.full) { state.values = {}; state.texts = {}; }
  Object.assign(state.values, message.v ?? {});
  Object.assign(state.texts, message.x ?? {});
  state.now = message.now ?? state.now;
  show();
  for (const listener of listeners) listener(message);
  heard = performance.now();
  if (message.now) sessionStorage.setItem("twin-seen", JSON.stringify({ line: message.now, wall: Date.now() }));
}

// ---------------------------------------------------------------- feed

let socket = null, heard = 0, away = null, patience = 500;

function lost() {
  if (away === null) {
    away = Date.now();
    document.body.classList.add("lost");
    const banner = document.querySelector(".lost-banner");
    banner?.classList.remove("hidden");
  }
  // what is shown is no longer true: it ages before everybody's eyes
  const banner = document.querySelector(".lost-banner");
  if (banner) put(banner, word("lost", { since: clock(away), age: age((Date.now() - away) / 1000) }));
  for (const element of document.querySelectorAll("[data-state-of]")) element.dataset.state = "stale";
}

function found(message) {
  document.querySelector(".lost-banner")?.classList.add("hidden");
  document.body.classList.remove("lost");
  const before = JSON.parse(sessionStorage.getItem("twin-away") ?? "null");
  sessionStorage.removeItem("twin-away");
  const since = away ?? before?.since;
  away = null;
  patience = 500;
  if (!since) return;
  const items = message.meanwhile?.length ? message.meanwhile : [word("nothing_meanwhile")];
  const title = word("back", { since: clock(since), until: clock(Date.now()) });
  sessionStorage.setItem("twin-news", JSON.stringify({ title, items }));
  news();
}

/** What was missed stands on every page until somebody has closed it. */
function news() {
  const told = JSON.parse(sessionStorage.getItem("twin-news") ?? "null");
  const box = document.querySelector(".news");
  if (!told || !box) return;
  box.classList.remove("hidden");
  put(box.querySelector("h2"), told.title);
  const lines = told.items.map((text) => Object.assign(document.createElement("li"), { textContent: text }));
  box.querySelector("ul").replaceChildren(...lines);
}

function connect() {
  if (setting.feed === null) return;
  const seen = JSON.parse(sessionStorage.getItem("twin-seen") ?? "null");
  const query = new URLSearchParams(setting.feed);
  const wasAway = away !== null || sessionStorage.getItem("twin-away");
  if (seen && wasAway) query.set("since_ms", String(seen.line));
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/screen/feed?${query}`);
  let first = true;
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.start && setting.start && message.start !== setting.start) {
      // another service answers: its pages are its own
      sessionStorage.setItem("twin-away", JSON.stringify({ since: away ?? Date.now() }));
      location.reload();
      return;
    }
    if (first) { first = false; found(message); }
    take(message);
  };
  socket.onclose = (event) => {
    if (event.code === 4401) { location.href = "/login"; return; }
    if (event.code === 1001 && document.visibilityState === "hidden") return;
    lost();
    setTimeout(connect, patience * (0.7 + 0.6 * Math.random()));
    patience = Math.min(2 * patience, 5000);
  };
}

setInterval(() => {
  if (away !== null) lost();
  else if (heard && performance.now() - heard > 5000) socket?.close();
}, 1000);
// a page that leaves is not a lost connection
addEventListener("pagehide", () => { if (socket) { socket.onclose = null; socket.close(); } });
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
// nicegui reloads a page whose server is new: what was missed is told after that, too
addEventListener("beforeunload", () => {
  if (away !== null) sessionStorage.setItem("twin-away", JSON.stringify({ since: away }));
});

// ---------------------------------------------------------------- what people set for themselves

function remember(name, value) { document.cookie = `${name}=${value};path=/;max-age=31536000;samesite=strict`; }

addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  if (button.dataset.do === "theme") {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    root.dataset.theme = theme;
    remember("twin-theme", theme);
    window.Quasar?.Dark?.set(theme === "dark");
    dispatchEvent(new Event("twin-theme"));
  } else if (button.dataset.do === "language") {
    remember("twin-language", language === "de" ? "en" : "de");
    location.reload();
  } else if (button.dataset.do === "close-news") {
    sessionStorage.removeItem("twin-news");
    document.querySelector(".news").classList.add("hidden");
  } else if (button.dataset.do === "skip") {
    event.preventDefault();
    document.querySelector("main")?.focus();
  }
});

/** Nicegui draws the page after this module has run. */
function drawn() {
  return new Promise((resolve) => {
    const there = () => document.querySelector("main") && resolve();
    new MutationObserver((_, observer) => { if (document.querySelector("main")) { observer.disconnect(); resolve(); } })
      .observe(document.documentElement, { childList: true, subtree: true });
    there();
  });
}

window.twin = { state };
await drawn();
document.querySelector("main").setAttribute("tabindex", "-1");
show();
news();
connect();
if (setting.charts) import("./charts.js");
