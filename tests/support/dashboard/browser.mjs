// Stand-ins for what the dashboard's modules use of a browser: the WebSocket, the timers and the time.

import { NOW } from "./samples.mjs";

/** The WebSockets that were opened, the oldest first. */
export const sockets = [];

class FakeSocket {
  constructor(url, protocol) {
    Object.assign(this, { url, protocol, sent: [], isClosed: false });
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  /** Receive a frame from the server. */
  deliver(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
}

/** Timers that run when the test advances the time. */
class FakeTimers {
  constructor() {
    this.now = NOW;
    this.lastId = 0;
    this.planned = new Map(); // id -> {at, run}
  }

  /** Advance the time and run the timers that become due, in order. */
  advance(ms) {
    const end = this.now + ms;
    for (let next; (next = this.next()) && next[1].at <= end; ) {
      this.planned.delete(next[0]);
      this.now = next[1].at;
      next[1].run();
    }
    this.now = end;
  }

  next() {
    return [...this.planned].sort(([, a], [, b]) => a.at - b.at)[0];
  }

  /** Return how many ms from now each timer is due, the earliest first. */
  get waits() {
    return [...this.planned.values()].map(({ at }) => at - this.now).sort((a, b) => a - b);
  }
}

/** Replace the WebSocket, the timers, the time and the random numbers for one test. Return the timers. */
export function fakeBrowser(test) {
  const timers = new FakeTimers();
  const { WebSocket, setTimeout, clearTimeout } = globalThis;
  const { now } = Date;
  const { random } = Math;
  sockets.length = 0;
  globalThis.WebSocket = FakeSocket;
  globalThis.setTimeout = (run, ms) => {
    timers.lastId += 1;
    timers.planned.set(timers.lastId, { at: timers.now + ms, run });
    return timers.lastId;
  };
  globalThis.clearTimeout = (id) => timers.planned.delete(id);
  Date.now = () => timers.now;
  Math.random = () => 0.5;
  test.after(() => {
    Object.assign(globalThis, { WebSocket, setTimeout, clearTimeout });
    Date.now = now;
    Math.random = random;
  });
  return timers;
}
