/*
 * The table of prices: the newest tick of each shown instrument, one row each. Rows of the hub are taken at any pace
 * and painted when the page says so, at most once for each frame of the screen.
 */

import { sayWord } from "./texts.js";

const NONE = "–";
const MINUS = "−";
const SHANGHAI_MS = 8 * 3_600_000;

function priceText(price, decimals) {
  return price ? price.toFixed(decimals) : NONE; // 0 stands for no trade yet, or an empty level of the book
}

function volumeText(volume) {
  return volume === null || volume === undefined ? NONE : volume.toLocaleString("en-US");
}

function changeOf({ lastPrice, lastClose }) {
  return lastPrice && lastClose ? (lastPrice / lastClose - 1) * 100 : null;
}

function changeText(tick) {
  const change = changeOf(tick);
  if (change === null) return NONE;
  const size = Math.abs(change).toFixed(2);
  return `${Number(size) === 0 ? "" : change > 0 ? "+" : MINUS}${size}%`;
}

/** Date and time in Shanghai, which is eight hours ahead of UTC all year, such as 2022-06-01T09:30:00.000Z. */
function shanghaiText(timeMs) {
  return new Date(timeMs + SHANGHAI_MS).toISOString();
}

function decimalsOf(price) {
  return String(price ?? "").split(".")[1]?.length ?? 0;
}

const COLUMNS = [
  ["code", ({ code }) => code],
  ["last", ({ tick, decimals }) => priceText(tick.lastPrice, decimals)],
  ["change", ({ tick }) => changeText(tick)],
  ["bidVolume", ({ tick }) => (tick.bidPrice?.[0] ? volumeText(tick.bidVol?.[0]) : NONE)],
  ["bid", ({ tick, decimals }) => priceText(tick.bidPrice?.[0], decimals)],
  ["ask", ({ tick, decimals }) => priceText(tick.askPrice?.[0], decimals)],
  ["askVolume", ({ tick }) => (tick.askPrice?.[0] ? volumeText(tick.askVol?.[0]) : NONE)],
  ["volume", ({ tick }) => volumeText(tick.volume)],
  ["time", ({ tick }) => (tick.time ? shanghaiText(tick.time).slice(11, 19) : NONE)],
  ["delay", ({ delayMs }) => (delayMs === null ? NONE : `${delayMs} ms`)],
];

/** `take` is called for every row that comes, `paint` for a frame. */
export class PriceTable {
  #lines = new Map(); // by code, in the order shown
  #changed = new Set();
  #fresh = new Set();
  #newestMs = 0;

  constructor(body) {
    this.body = body;
  }

  get codes() {
    return [...this.#lines.keys()];
  }

  /** The date in Shanghai of the newest row, such as 2022-06-01; empty before the first. */
  get day() {
    return this.#newestMs ? shanghaiText(this.#newestMs).slice(0, 10) : "";
  }

  /** Show these instruments, in this order; what is known of one stays. */
  show(codes) {
    const before = this.#lines;
    this.#lines = new Map(codes.map((code) => [code, before.get(code) ?? makeLine(code)]));
    this.#changed = new Set([...this.#changed].filter(({ code }) => this.#lines.has(code)));
    this.body.replaceChildren(...[...this.#lines.values()].map(({ element }) => element));
  }

  /** Take one row. Rows of instruments that are not shown are ignored. */
  take(tick, isLive) {
    const line = this.#lines.get(tick.code);
    if (!line) return;
    const wasDown = line.tick && tick.lastPrice < line.tick.lastPrice;
    const wasUp = line.tick && tick.lastPrice > line.tick.lastPrice;
    line.move = wasUp ? "up" : wasDown ? "down" : "none";
    line.flashes = isLive;
    line.tick = tick;
    this.#newestMs = Math.max(this.#newestMs, tick.time);
    // In whole milliseconds on both sides, since this clock has no finer ones. A snapshot's row says nothing of delay.
    line.delayMs = isLive ? Date.now() - Math.floor(tick.recv / 1000) : null;
    const prices = [tick.lastPrice, tick.lastClose, tick.bidPrice?.[0], tick.askPrice?.[0]];
    line.decimals = Math.min(4, Math.max(line.decimals, ...prices.map(decimalsOf)));
    this.#changed.add(line);
  }

  /** Forget all values: they belong to a history that is over. */
  clear() {
    const codes = this.codes;
    this.#lines = new Map();
    this.#newestMs = 0;
    this.show(codes);
  }

  /** Bring the screen up to date. True if it must be called for the next frame too, to end the flashes. */
  paint() {
    for (const { element } of this.#fresh) delete element.dataset.fresh;
    this.#fresh = new Set([...this.#changed].filter(({ flashes }) => flashes));
    for (const line of this.#changed) paintLine(line);
    for (const { element, move } of this.#fresh) element.dataset.fresh = move;
    this.#changed.clear();
    return this.#fresh.size > 0;
  }

  /** Put the names of the columns into the chosen language. */
  translate(headings) {
    headings.replaceChildren(
      ...COLUMNS.map(([name]) => {
        const heading = document.createElement("th");
        heading.scope = "col";
        heading.role = "columnheader";
        heading.className = name;
        heading.textContent = sayWord("columns", name);
        return heading;
      }),
    );
    for (const { cells } of this.#lines.values()) labelCells(cells);
  }
}

function makeLine(code) {
  const element = document.createElement("tr");
  element.role = "row";
  element.dataset.code = code;
  const cells = COLUMNS.map(([name]) => {
    const cell = document.createElement(name === "code" ? "th" : "td");
    if (name === "code") cell.scope = "row";
    cell.role = name === "code" ? "rowheader" : "cell";
    cell.className = name;
    cell.textContent = name === "code" ? code : NONE;
    return cell;
  });
  element.append(...cells);
  labelCells(cells);
  return { code, element, cells, tick: null, delayMs: null, decimals: 2, move: "none", flashes: false };
}

/** On a narrow screen, where the headings have no room, the style sheet shows these labels. */
function labelCells(cells) {
  COLUMNS.forEach(([name], column) => (cells[column].dataset.label = sayWord("columns", name)));
}

function paintLine(line) {
  const change = changeOf(line.tick);
  line.element.dataset.side = change > 0 ? "up" : change < 0 ? "down" : "flat";
  COLUMNS.forEach(([, textOf], column) => setText(line.cells[column], textOf(line)));
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
