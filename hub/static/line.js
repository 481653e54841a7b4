/*
 * The line to the hub that served the page: a plain WebSocket client of the protocol argus.v1 in JSON. It asks, matches
 * answers to requests, notices when the line is dead, and connects again where the contract allows it.
 */

const SUBPROTOCOL = "argus.v1.json";
const FINAL_CODES = new Set([4400, 1007, 1009, 4401, 4403, 4409]); // the contract: do not reconnect after these
const FIRST_WAIT_MS = 500;
const LAST_WAIT_MS = 20_000;
const HANDSHAKE_MS = 15_000;
const RETRY_MS = 1000; // until a request is sent again that the hub can't take now, where it does not say when
const SILENT_HEARTBEATS = 3; // so many in a row missing, and the line is dead even if nothing closed it

/** A request that the hub answered with an error. */
export class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

/** A request that got no answer, because the connection ended. */
export class Gone extends Error {}

/**
 * One connection after the other. `onState` hears {kind: connecting | connected | draining | reconnecting | ended} with
 * what belongs to it, `onMessage` everything that is no answer to a request.
 */
export class Line {
  #socket = null;
  #waiting = []; // requests not sent yet
  #asked = null; // the one that was sent: one at a time, so that what is refused is asked again before what follows
  #lastId = 0;
  #attempt = 0;
  #timer = 0;
  #heardAt = 0;
  #silenceMs = HANDSHAKE_MS;
  #isWelcome = false;

  constructor(onState, onMessage) {
    this.onState = onState;
    this.onMessage = onMessage;
    setInterval(() => this.#checkSilence(), 1000);
  }

  open() {
    this.close();
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, SUBPROTOCOL);
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#socket = socket;
    this.#heardAt = performance.now();
    this.#silenceMs = HANDSHAKE_MS;
    this.onState({ kind: "connecting" });
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#isWelcome = false;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const unanswered = [this.#asked, ...this.#waiting].filter(Boolean);
    this.#asked = null;
    this.#waiting = [];
    for (const request of unanswered) request.reject(new Gone());
  }

  /** Ask the hub; gives its answer. Throws `Refused`, or `Gone` where there is no hub to ask. */
  async request(op, fields) {
    if (!this.#isWelcome) throw new Gone();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ op, fields, resolve, reject });
      this.#askNext();
    });
  }

  #askNext() {
    if (this.#asked || this.#waiting.length === 0) return;
    this.#asked = this.#waiting.shift();
    this.#ask();
  }

  #ask() {
    const { op, fields } = this.#asked;
    this.#asked.id = ++this.#lastId;
    this.#socket.send(JSON.stringify({ op, id: this.#asked.id, ...fields }));
  }

  #receive(message) {
    this.#heardAt = performance.now();
    if (message.type === "welcome") {
      this.#isWelcome = true;
      this.#silenceMs = Math.max(HANDSHAKE_MS, message.heartbeat_s * 1000 * SILENT_HEARTBEATS);
      this.onState({ kind: "connected" });
    } else if (message.type === "heartbeat") {
      this.#attempt = 0; // only now: a hub that greets and hangs up at once is not to be called again and again
    } else if (message.type === "draining") {
      this.onState({ kind: "draining" });
    } else if (this.#asked && message.type !== "data" && message.id === this.#asked.id) {
      if (message.type !== "error") this.#settle(({ resolve }) => resolve(message));
      else if (message.code !== "rate_limited") this.#settle(({ reject }) => reject(new Refused(message)));
      else this.#timer = setTimeout(() => this.#ask(), message.retry_in_ms ?? RETRY_MS);
      return;
    }
    this.onMessage(message);
  }

  #settle(answer) {
    const request = this.#asked;
    this.#asked = null;
    answer(request);
    this.#askNext();
  }

  #checkSilence() {
    if (this.#socket && performance.now() - this.#heardAt > this.#silenceMs) this.#lost(1006, "");
  }

  #lost(code, reason) {
    this.close();
    if (FINAL_CODES.has(code)) {
      this.onState({ kind: "ended", code, reason });
      return;
    }
    this.#attempt += 1;
    const ceilingMs = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempt);
    const waitMs = FIRST_WAIT_MS + Math.random() * (ceilingMs - FIRST_WAIT_MS); // all of it random: clients spread out
    this.#timer = setTimeout(() => this.open(), waitMs);
    this.onState({ kind: "reconnecting", code, seconds: Math.ceil(waitMs / 1000) });
  }
}
