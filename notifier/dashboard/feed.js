// One lasting connection to the feed: hello, resume, back-off, filter, commands. Knows no page.

const PROTOCOL = "notifier.feed.v1";
export const BACK_OFF = [200, 500, 1000, 2000, 5000]; // ms between two tries, the last one repeats
const SILENCES = 2.5; // heartbeats without any frame after which the connection is taken for dead
const FIRST_STATE_TIMEOUT = 600_000; // ms until the first snapshot or events: before it there is no heartbeat

export class CommandError extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

/**
 * `onFrame(frame)` gets every frame of the server, in order, that still counts: none of an older filter.
 * `onChange()` is told when `state` or `reason` may have changed. `state` is
 * "connecting", "live", "lost" (tries again at `retryAt`) or "refused" (only `open` tries again).
 */
export class Feed {
  constructor(url, { onFrame, onChange = () => {}, snapshot = 500, stats = 0, token = null, filter = {}, backOff = BACK_OFF }) {
    this.url = url;
    this.onFrame = onFrame;
    this.onChange = onChange;
    this.snapshot = snapshot;
    this.stats = stats;
    this.token = token;
    this.filter = filter;
    this.backOff = backOff;
    this.state = "connecting";
    this.reason = "";
    this.code = 0;
    this.heardAt = 0;
    this.retryAt = 0;
    this.role = null;
    this.cursor = null; // of this filter, never of another one
    this.isGreeted = false; // hello was said on this connection
    this.isFollowing = false; // it has shown a first state, and sends heartbeats from then on
    this.awaited = null; // id of the snapshot that answers the latest filter
    this.heartbeat = 20;
    this.tries = 0;
    this.lastId = 0;
    this.results = new Map();
    this.socket = null;
    this.timer = null;
    this.watchdog = null;
    this.bye = null; // the server's goodbye on this connection
  }

  /** Connect now, whatever was planned. */
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

  /** Let go of the feed for good, or until `open`. */
  close() {
    this.abandon();
    this.change("refused", "closed");
  }

  /** Watch other mails from now on; their snapshot follows. */
  refilter(filter) {
    this.filter = filter;
    this.cursor = null;
    this.awaited = null;
    if (!this.isGreeted) return; // the hello will carry it
    this.awaited = this.nextId();
    this.send({ type: "filter", id: this.awaited, filter, snapshot: this.snapshot });
  }

  /** Have the service do something: its value, or a CommandError; with code "lost" it may have been done or not. */
  command(name, args = {}) {
    if (this.state !== "live") {
      return Promise.reject(new CommandError({ code: "lost", message: "not connected" }));
    }
    const id = this.nextId();
    return new Promise((resolve, reject) => {
      this.results.set(id, { resolve, reject });
      this.send({ type: "command", id, name, args });
    });
  }

  hello() {
    const hello = { type: "hello", snapshot: this.snapshot, stats: this.stats, filter: this.filter };
    if (this.token) hello.token = this.token;
    if (this.cursor) hello.resume = this.cursor;
    this.send(hello);
    this.isGreeted = true;
    this.listen();
  }

  receive(frame) {
    this.heardAt = Date.now();
    if (frame.cursor) this.isFollowing = true;
    this.listen();
    if (frame.type === "result") this.settle(frame);
    if (frame.type === "bye") this.bye = frame;
    if (frame.type === "welcome") {
      this.role = frame.role;
      this.heartbeat = frame.heartbeat;
      this.change("live", "");
    }
    if (this.awaited && frame.id === this.awaited && frame.type === "snapshot") this.awaited = null;
    if (frame.cursor) {
      if (this.awaited) return; // it still speaks of the filter before
      this.cursor = frame.cursor;
      this.tries = 0;
    }
    this.onFrame(frame);
  }

  settle({ id, ok, value, error }) {
    const waiting = this.results.get(id);
    this.results.delete(id);
    if (ok) waiting?.resolve(value);
    else waiting?.reject(new CommandError(error));
  }

  lost(code, reason) {
    const { bye } = this;
    this.abandon();
    this.code = code;
    if ((code >= 4400 && code < 4500) || bye?.reconnect === false) {
      this.change("refused", reason || "the service said goodbye for good");
      return;
    }
    const step = this.backOff[Math.min(this.tries++, this.backOff.length - 1)];
    // Spread, so that all who lost the same service do not come back at the same moment.
    const delay = (bye?.after_ms ?? step) * (0.75 + Math.random() / 2);
    this.retryAt = Date.now() + delay;
    this.timer = setTimeout(() => this.open(), delay);
    this.change("lost", reason || "connection lost");
  }

  /** Take silence for loss: a connection that died without a word closes only after many minutes. */
  listen() {
    clearTimeout(this.watchdog);
    const isWaiting = this.isGreeted && !this.isFollowing;
    const patience = isWaiting ? FIRST_STATE_TIMEOUT : this.heartbeat * SILENCES * 1000;
    this.watchdog = setTimeout(() => this.lost(0, "nothing was heard"), patience);
  }

  abandon() {
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.awaited = null;
    this.bye = null;
    this.isGreeted = this.isFollowing = false;
    for (const { reject } of this.results.values()) {
      reject(new CommandError({ code: "lost", message: "the connection was lost before the result came" }));
    }
    this.results.clear();
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  change(state, reason) {
    this.state = state;
    this.reason = reason;
    this.onChange();
  }

  send(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  nextId() {
    this.lastId += 1;
    return String(this.lastId);
  }
}
