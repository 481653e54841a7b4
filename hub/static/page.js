/*
 * The live page: shows the prices of some instruments, and whether they can be trusted: where they come from, whether
 * the hub is there, whether the markets speak. Whatever the hub sends is shown as text, never read as HTML.
 */

import { Gone, Line, Refused } from "./line.js";
import { PriceTable, setText } from "./prices.js";
import { language, nameOf, otherLanguage, say, sayWord, switchLanguage } from "./texts.js";

const DEFAULT_ROWS = 20;
const MOST_ROWS = 200;
const TOPICS_PER_REQUEST = 25; // keeps a request small, whatever limit of message size the hub has
const LOOK_AGAIN_MS = 3000;
const TOKEN_KEY = "argus.token";

const at = (id) => document.getElementById(id);
const table = new PriceTable(at("rows"));
const line = new Line(setConnection, take);

let connection = { kind: "connecting" };
let welcome = null;
let markets = new Map(); // by market: phase, state, age_ms
let sources = new Map(); // by name: state, detail
let matching = null; // how many instruments the watch list covers; null before the hub told it
let problems = [];
let tokenWasRefused = false;
let subscribed = new Set(); // topics, on this connection
let turn = 0; // of following the watch list; a newer one ends an older one
let following = Promise.resolve();
let lookAgain = 0;
let isPaintDue = false;

function paintSoon() {
  if (!isPaintDue) requestAnimationFrame(paint);
  isPaintDue = true;
}

function setConnection(state) {
  connection = state;
  if (state.kind !== "connected" && state.kind !== "draining") {
    turn += 1;
    clearTimeout(lookAgain);
    markets = new Map(); // nobody knows how they are now
    sources = new Map();
  }
  if (state.code === 4401) needToken();
  paintSoon();
}

/** Everything that the hub says of its own accord. */
function take(message) {
  if (message.type === "welcome") {
    greet(message);
  } else if (message.type === "heartbeat") {
    markets = new Map(Object.entries(message.markets));
  } else if (message.type === "data" && message.channel === "tick") {
    const isLive = message.origin === "live";
    if (isLive || message.origin === "snapshot") for (const tick of message.rows) table.take(tick, isLive);
  } else if (message.type === "data" && message.channel === "status") {
    message.rows.forEach(takeStatus);
  }
  paintSoon();
}

function takeStatus({ code, state, phase, age_ms, detail }) {
  if (code.startsWith("source.")) sources.set(code.slice("source.".length), { state, detail });
  else markets.set(code, { state, phase, age_ms });
}

async function greet(message) {
  if (message.epoch !== welcome?.epoch) table.clear();
  welcome = message;
  subscribed = new Set();
  const token = sessionStorage.getItem(TOKEN_KEY);
  await guard(async () => {
    if (token) await line.request("auth", { token });
    if ("status" in message.schemas) await line.request("subscribe", { topics: ["status:*"] });
    follow();
  });
}

/** Carry out requests; a refusal is shown, an end of the connection is shown by its state. */
async function guard(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof Gone) return;
    if (!(error instanceof Refused)) throw error;
    if (error.code === "unauthorized") needToken();
    else problems.push(error.message);
    paintSoon();
  }
}

function needToken() {
  line.close();
  tokenWasRefused = sessionStorage.getItem(TOKEN_KEY) !== null;
  sessionStorage.removeItem(TOKEN_KEY);
  setConnection({ kind: "tokenNeeded" });
  at("token-form").hidden = false;
  at("token").focus();
}

/** The codes and patterns of the address, such as `#watch=600000.SH+300*.SZ`: it can be bookmarked. */
function watchList() {
  const words = (new URLSearchParams(location.hash.slice(1)).get("watch") ?? "").split(/[\s,，;；、]+/u).filter(Boolean);
  return [...new Set(words.map((word) => word.replace(/\.[a-z]+$/u, (exchange) => exchange.toUpperCase())))];
}

/** Subscribe what the watch list says, and nothing else. */
function follow() {
  clearTimeout(lookAgain);
  const mine = ++turn;
  const isCurrent = () => mine === turn;
  following = following.then(() => guard(() => followWatchList(isCurrent)));
}

async function followWatchList(isCurrent) {
  const words = watchList();
  const limit = Math.min(words.length ? MOST_ROWS : DEFAULT_ROWS, welcome.limits.topics - 1); // one is status:*
  const codes = new Set();
  const refusals = [];
  for (const word of words.length ? words : ["*"]) {
    if (!isCurrent()) return;
    try {
      for (const code of await codesOf(word)) codes.add(code);
    } catch (error) {
      if (!(error instanceof Refused) || error.code === "unauthorized") throw error;
      refusals.push(error.message);
    }
  }
  if (!isCurrent()) return;
  const shown = [...codes].slice(0, limit);
  problems = refusals;
  matching = codes.size;
  if (shown.join() !== table.codes.join()) table.show(shown);
  paintSoon();
  const wanted = new Set(shown.map((code) => `tick:${code}`));
  await change("unsubscribe", [...subscribed].filter((topic) => !wanted.has(topic)), isCurrent);
  await change("subscribe", [...wanted].filter((topic) => !subscribed.has(topic)), isCurrent);
  // Topics are subscribed one by one, so that a wide pattern cannot flood the page: new ones must be looked for.
  if (isCurrent() && shown.length < limit) lookAgain = setTimeout(follow, LOOK_AGAIN_MS);
}

/** The codes that a word of the watch list stands for. An exact code counts before its first row, too. */
async function codesOf(word) {
  const { topics } = await line.request("topics", { pattern: `tick:${word}` });
  if (topics.length === 0 && !/[*@]/u.test(word)) return [word];
  return topics.map(({ topic }) => topic.slice("tick:".length)).sort();
}

async function change(op, topics, isCurrent) {
  for (let start = 0; start < topics.length && isCurrent(); start += TOPICS_PER_REQUEST) {
    const part = topics.slice(start, start + TOPICS_PER_REQUEST);
    await line.request(op, { topics: part });
    for (const topic of part) op === "subscribe" ? subscribed.add(topic) : subscribed.delete(topic);
  }
}

function paint() {
  isPaintDue = false;
  const isOpen = connection.kind === "connected" || connection.kind === "draining";
  document.body.dataset.open = isOpen;
  const state = at("connection");
  state.dataset.state = connection.kind;
  const details = connection.kind === "reconnecting" ? [connection.seconds] : [];
  setText(state, say(connection.kind, ...details, connection.code, connection.reason ?? ""));
  at("connect-now").hidden = connection.kind !== "reconnecting" && connection.kind !== "ended";
  at("token-form").hidden = connection.kind !== "tokenNeeded";
  setText(at("token-note"), say(tokenWasRefused ? "tokenRefused" : "tokenKept"));
  paintBanner();
  paintAlarm(isOpen);
  paintMarkets();
  paintNote();
  if (table.paint()) paintSoon();
}

function paintBanner() {
  if (!welcome) return;
  const { name, simulated } = welcome.source;
  const kind = simulated ? "simulated" : name === "recording" ? "recording" : "live";
  const banner = at("banner");
  banner.hidden = false;
  banner.dataset.kind = kind;
  setText(banner, say(kind, name, table.day));
  setText(at("server"), welcome.server);
}

function paintAlarm(isOpen) {
  const alarms = [];
  if (!isOpen && table.codes.length > 0) alarms.push(say("notLive"));
  for (const [name, { state, detail }] of sources) {
    if (state !== "connected") alarms.push(say("sourceTrouble", name, sayWord("states", state), detail ?? ""));
  }
  for (const [market, { state }] of markets) {
    if (state === "stale") alarms.push(say("stale", sayWord("markets", market)));
  }
  at("alarm").hidden = alarms.length === 0;
  setText(at("alarm"), alarms.join("\n"));
}

function paintMarkets() {
  const cards = [...markets].map(([market, { phase, state, age_ms }]) => {
    const card = document.createElement("li");
    card.dataset.market = market;
    card.dataset.state = state;
    const age = age_ms === null ? say("noRowYet") : say("age", ageText(age_ms));
    const words = [sayWord("markets", market), sayWord("states", state), sayWord("phases", phase), age];
    card.append(...words.map((word) => Object.assign(document.createElement("span"), { textContent: word })));
    return card;
  });
  if (cards.length === 0) {
    cards.push(Object.assign(document.createElement("li"), { textContent: say("marketsUnknown") }));
  }
  const list = at("markets");
  const isSame = cards.length === list.children.length && cards.every((card, i) => card.isEqualNode(list.children[i]));
  if (!isSame) list.replaceChildren(...cards);
}

function ageText(ageMs) {
  if (ageMs >= 120_000) return say("minutes", Math.floor(ageMs / 60_000));
  return say("seconds", ageMs < 10_000 ? (ageMs / 1000).toFixed(1) : Math.floor(ageMs / 1000));
}

function paintNote() {
  const shown = table.codes.length;
  setText(at("note"), matching === null ? say("asking") : shown ? say("shown", shown, matching) : say("nothing"));
  at("problem").hidden = problems.length === 0;
  setText(at("problem"), problems.map((message) => say("problem", message)).join("\n"));
}

function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) setText(element, say(element.dataset.text));
  setText(at("language"), nameOf(otherLanguage()));
  at("language").lang = otherLanguage();
  table.translate(at("headings"));
  paintSoon();
}

at("language").addEventListener("click", () => {
  switchLanguage();
  translate();
});
at("connect-now").addEventListener("click", () => line.open());
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN_KEY, at("token").value.trim());
  at("token").value = "";
  line.open();
});
at("watch-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const watch = at("watch").value.trim();
  location.hash = watch && new URLSearchParams({ watch });
});
addEventListener("hashchange", () => {
  at("watch").value = watchList().join(" ");
  if (welcome && (connection.kind === "connected" || connection.kind === "draining")) follow();
});

at("watch").value = watchList().join(" ");
translate();
line.open();
