// One lasting connection to the feed: hello, resume, back-off, filter, commands. Independent of the page.

/** @typedef {import("./frames.js").Commands} Commands */
/** @typedef {import("./frames.js").Filter} Filter */
/** @typedef {import("./frames.js").ServerFrame} ServerFrame */

const PROTOCOL = "notifier.feed.v1";
export const BACK_OFF = [200, 500, 1000, 2000, 5000]; // ms between two attempts to connect; the last one repeats
const SILENCES = 2.5; // heartbeats without any frame after which the connection counts as lost
const NO_RESULT = "the connection was lost before the result arrived, so the command may have been executed";
const FIRST_STATE_TIMEOUT = 600_000; // ms until the first snapshot or events: before that there is no heartbeat

export class CommandError extends Error {
  /** @param {import("./frames.js").Failure} failure */
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

/** @typedef {{resolve: (value: any) => void, reject: (error: CommandError) => void}} Waiting who waits for a result */
/**
 * @typedef {object} Options
 * @property {(frame: ServerFrame) => void} onFrame called with each frame in order, except those of an earlier filter
 * @property {() => void} [onChange] called after `state` or `reason` may have changed
 * @property {number} [snapshot] how many mails a snapshot may have
 * @property {number} [stats] seconds between two `stats`; 0 means none
 * @property {string | null} [token]
 * @property {Filter} [filter]
 * @property {number[]} [backOff] ms
 */

/**
 * `state` is "connecting", "live", "lost" (connects again at `retryAt`) or "refused" (only `open` connects again).
 */
export class Feed {
  /**
   * @param {string | URL} url
   * @param {Options} options
   */
  constructor(url, options) {
    this.url = url;
    this.onFrame = options.onFrame;
    this.onChange = options.onChange ?? (() => {});
    this.snapshot = options.snapshot ?? 500;
    this.stats = options.stats ?? 0;
    this.token = options.token ?? null;
    this.filter = options.filter ?? {};
    this.backOff = options.backOff ?? BACK_OFF;
    /** @type {"connecting" | "live" | "lost" | "refused"} */
    this.state = "connecting";
    this.reason = ""; // why it is lost or refused
    this.code = 0; // of the latest close, 0 if there was none
    this.heardAt = 0; // ms
    this.retryAt = 0; // ms
    /** @type {import("./frames.js").Welcome["role"] | null} */
    this.role = null;
    /** @type {string | null} the latest one of this filter, never of another one */
    this.cursor = null;
    this.isGreeted = false; // hello was sent on this connection
    this.isFollowing = false; // a first state has come on this connection; from then on there are heartbeats
    /** @type {string | null} id of the snapshot that answers the latest filter */
    this.awaited = null;
    this.heartbeat = 20; // seconds
    this.tries = 0;
    this.lastId = 0;
    /** @type {Map<string, Waiting>} by id of the command */
    this.results = new Map();
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.watchdog = undefined;
    /** @type {import("./frames.js").Bye | null} of this connection */
    this.bye = null;
  }

  /** Connect now, instead of the connection there is and of any planned attempt. */
  open() {
    this.abandon();
    this.change("connecting", "");
    const socket = new WebSocket(this.url, PROTOCOL);
    this.socket = socket;
    socket.onopen = () => this.hello();
    socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.lost(code, reason);
    this.listen();
  }

  /** Disconnect and stay disconnected until `open`. */
  close() {
    this.abandon();
    this.change("refused", "closed");
  }

  /**
   * Watch other mails from now on; their snapshot follows.
   * @param {Filter} filter
   */
  refilter(filter) {
    this.filter = filter;
    this.cursor = null;
    this.awaited = null;
    if (!this.isGreeted) return; // the hello will carry it
    this.awaited = this.nextId();
    this.send({ type: "filter", id: this.awaited, filter, snapshot: this.snapshot });
  }

  /**
   * Run a command and return its value. Rejects with a CommandError; the code "lost" means that the connection was lost
   * before the result came, so that the command may or may not have been executed.
   * @template {keyof Commands} Name
   * @param {Name} name
   * @param {Commands[Name]["args"]} args
   * @returns {Promise<Commands[Name]["value"]>}
   */
  command(name, args) {
    if (this.state !== "live") {
      return Promise.reject(new CommandError({ code: "lost", message: "not connected to the service" }));
    }
    const id = this.nextId();
    return new Promise((resolve, reject) => {
      this.results.set(id, { resolve, reject });
      this.send({ type: "command", id, name, args });
    });
  }

  hello() {
    /** @type {import("./frames.js").Hello} */
    const hello = { type: "hello", snapshot: this.snapshot, stats: this.stats, filter: this.filter };
    if (this.token) hello.token = this.token;
    if (this.cursor) hello.resume = this.cursor;
    this.send(hello);
    this.isGreeted = true;
    this.listen();
  }

  /** @param {ServerFrame} frame */
  receive(frame) {
    // A cursor covers what its frame says, and a frame of an unknown type says something that is not shown.
    const cursor = frame.type === "snapshot" || frame.type === "events" ? frame.cursor : null;
    this.heardAt = Date.now();
    if (cursor) this.isFollowing = true;
    this.listen();
    if (frame.type === "result") this.settle(frame);
    if (frame.type === "bye") this.bye = frame;
    if (frame.type === "welcome") {
      this.role = frame.role;
      this.heartbeat = frame.heartbeat;
      this.change("live", "");
    }
    if (this.awaited && frame.type === "snapshot" && frame.id === this.awaited) this.awaited = null;
    if (cursor) {
      if (this.awaited) return; // this frame still belongs to the filter before
      this.cursor = cursor;
      this.tries = 0;
    }
    this.onFrame(frame);
  }

  /** @param {import("./frames.js").Result} result */
  settle(result) {
    const waiting = this.results.get(result.id);
    this.results.delete(result.id);
    if (result.ok) waiting?.resolve(result.value);
    else waiting?.reject(new CommandError(result.error));
  }

  /**
   * @param {number} code of the close, 0 if there was none
   * @param {string} reason
   */
  lost(code, reason) {
    const { bye } = this;
    this.abandon();
    this.code = code;
    if ((code >= 4400 && code < 4500) || bye?.reconnect === false) {
      this.change("refused", reason || "the service closed the connection and asked not to reconnect");
      return;
    }
    const step = this.backOff[Math.min(this.tries, this.backOff.length - 1)] ?? 0;
    this.tries += 1;
    // The delay varies, so that the clients of a service that restarts do not all come back at the same moment.
    const delay = (bye?.after_ms ?? step) * (0.75 + Math.random() / 2);
    this.retryAt = Date.now() + delay;
    this.timer = setTimeout(() => this.open(), delay);
    this.change("lost", reason || "the connection was lost");
  }

  /** Take a long silence for a loss: without it the browser would report a dead connection only after many minutes. */
  listen() {
    clearTimeout(this.watchdog);
    const isWaiting = this.isGreeted && !this.isFollowing;
    const timeout = isWaiting ? FIRST_STATE_TIMEOUT : this.heartbeat * SILENCES * 1000;
    this.watchdog = setTimeout(() => this.lost(0, "the service has stopped responding"), timeout);
  }

  abandon() {
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.awaited = null;
    this.bye = null;
    this.isGreeted = this.isFollowing = false;
    for (const { reject } of this.results.values()) {
      reject(new CommandError({ code: "lost", message: NO_RESULT }));
    }
    this.results.clear();
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  /**
   * @param {Feed["state"]} state
   * @param {string} reason
   */
  change(state, reason) {
    this.state = state;
    this.reason = reason;
    this.onChange();
  }

  /** @param {object} frame */
  send(frame) {
    this.socket?.send(JSON.stringify(frame));
  }

  nextId() {
    this.lastId += 1;
    return String(this.lastId);
  }
}
