import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError, Feed } from "../../../notifier/dashboard/feed.js";
import { fakeBrowser, sockets } from "../../support/dashboard/browser.mjs";
import { NOW, events, mail, snapshot, welcome } from "../../support/dashboard/samples.mjs";

/** Open a feed; return it with its timers and the types of the frames that it passed on. */
function opened(t, options = {}) {
  const timers = fakeBrowser(t);
  const frames = [];
  const feed = new Feed("ws://service/feed", { onFrame: (frame) => frames.push(frame.type), ...options });
  feed.open();
  return { feed, timers, frames };
}

/** Accept the latest connection as the server would. */
function accept(frame = welcome()) {
  sockets.at(-1).onopen();
  sockets.at(-1).deliver(frame);
}

function drop(code = 1006, reason = "") {
  sockets.at(-1).onclose({ code, reason });
}

test("hello is the first frame, and with the welcome the feed is live", (t) => {
  const { feed } = opened(t, { token: "secret", filter: { kind: ["notification"] }, stats: 1 });
  assert.equal(feed.state, "connecting");
  accept();
  assert.equal(sockets[0].protocol, "notifier.feed.v1");
  const hello = { type: "hello", snapshot: 500, stats: 1, filter: { kind: ["notification"] }, token: "secret" };
  assert.deepEqual(sockets[0].sent, [hello]);
  assert.equal(feed.state, "live");
  assert.equal(feed.role, "operator");
});

test("after a loss it connects again and resumes with the latest cursor", (t) => {
  const { feed, timers } = opened(t);
  accept();
  sockets[0].deliver(snapshot([mail()]));
  sockets[0].deliver(events([mail({ rev: 2 })], 0, "c7"));
  drop();
  assert.equal(feed.state, "lost");
  assert.equal(feed.reason, "the connection was lost");
  assert.equal(feed.retryAt, NOW + 200);
  timers.advance(200);
  accept(welcome({ resumed: true }));
  assert.equal(sockets[1].sent[0].resume, "c7");
  assert.equal(feed.state, "live");
});

test("the delays grow until a first state has come", (t) => {
  const { feed, timers } = opened(t);
  const delays = [];
  for (let n = 0; n < 7; n += 1) {
    drop();
    delays.push(feed.retryAt - timers.now);
    timers.advance(delays.at(-1));
  }
  assert.deepEqual(delays, [200, 500, 1000, 2000, 5000, 5000, 5000]);
  accept();
  sockets.at(-1).deliver(snapshot([]));
  drop();
  assert.equal(feed.retryAt - timers.now, 200);
});

test("a bye sets the time of the next attempt", (t) => {
  const { feed } = opened(t);
  accept();
  sockets[0].deliver({ type: "bye", code: 1012, reconnect: true, after_ms: 4000 });
  drop(1012, "restart");
  assert.equal(feed.state, "lost");
  assert.equal(feed.retryAt, NOW + 4000);
});

test("a bye counts only for the connection on which it came", (t) => {
  const { feed, timers } = opened(t);
  accept();
  sockets[0].deliver({ type: "bye", code: 1012, reconnect: true, after_ms: 4000 });
  drop(1012, "restart");
  timers.advance(4000);
  drop();
  assert.equal(feed.retryAt - timers.now, 500);
});

test("a connection that was given up can no longer change anything", (t) => {
  const { feed } = opened(t);
  feed.open();
  const [{ isClosed, onopen, onmessage, onclose }] = sockets;
  assert.deepEqual([isClosed, onopen, onmessage, onclose], [true, null, null, null]);
});

const REFUSALS = {
  "a close code 44xx": () => drop(4401, "no valid token"),
  "a bye without reconnect": () => {
    sockets[0].deliver({ type: "bye", code: 1001, reconnect: false, after_ms: 0 });
    drop(1001);
  },
};
for (const [name, refuse] of Object.entries(REFUSALS)) {
  test(`after ${name} it connects only when it is opened again`, (t) => {
    const { feed, timers } = opened(t);
    sockets[0].onopen();
    refuse();
    assert.equal(feed.state, "refused");
    timers.advance(3_600_000);
    assert.equal(sockets.length, 1);
    feed.open();
    assert.equal(sockets.length, 2);
  });
}

test("a silence of two and a half heartbeats is a loss; before the first state, one of ten minutes", (t) => {
  const { feed, timers } = opened(t);
  assert.deepEqual(timers.waits, [50_000]);
  accept();
  assert.deepEqual(timers.waits, [600_000]);
  sockets[0].deliver(snapshot([]));
  assert.deepEqual(timers.waits, [50_000]);
  timers.advance(49_999);
  sockets[0].deliver(events([]));
  timers.advance(49_999);
  assert.equal(feed.state, "live");
  timers.advance(1);
  assert.equal(feed.state, "lost");
  assert.ok(sockets[0].isClosed);
});

test("after another filter, frames of the one before are left out", (t) => {
  const { feed, frames } = opened(t);
  accept();
  sockets[0].deliver(snapshot([]));
  feed.refilter({ status: ["failed"] });
  const [, { id, filter }] = sockets[0].sent;
  assert.deepEqual(filter, { status: ["failed"] });
  sockets[0].deliver(events([mail()]));
  assert.equal(feed.cursor, null);
  sockets[0].deliver(snapshot([], { id, cursor: "c9" }));
  sockets[0].deliver(events([mail()], 0, "c10"));
  assert.deepEqual(frames, ["welcome", "snapshot", "snapshot", "events"]);
  assert.equal(feed.cursor, "c10");
});

test("a frame of an unknown type is passed on, and its cursor is not used", (t) => {
  const { feed, frames } = opened(t);
  accept();
  sockets[0].deliver(snapshot([], { cursor: "c1" }));
  sockets[0].deliver({ type: "weather", cursor: "c2" });
  assert.deepEqual(frames, ["welcome", "snapshot", "weather"]);
  assert.equal(feed.cursor, "c1");
});

test("a filter that is set before hello is sent with hello", (t) => {
  const { feed } = opened(t);
  feed.refilter({ status: ["failed"] });
  accept();
  assert.deepEqual(sockets[0].sent.map(({ type, filter }) => [type, filter]), [["hello", { status: ["failed"] }]]);
});

test("a filter that is set while it connects again is sent with hello, without a cursor", (t) => {
  const { feed, timers } = opened(t);
  accept();
  sockets[0].deliver(snapshot([]));
  drop();
  timers.advance(200);
  feed.refilter({ status: ["failed"] });
  accept();
  assert.deepEqual(sockets[1].sent, [{ type: "hello", snapshot: 500, stats: 0, filter: { status: ["failed"] } }]);
  assert.equal(feed.awaited, null);
});

test("each command gets its own result", async (t) => {
  const { feed } = opened(t);
  accept();
  const [first, second] = [feed.command("mail.retry", { id: "m1" }), feed.command("mail.cancel", { id: "m2" })];
  const [, { id: firstId, ...frame }, { id: secondId }] = sockets[0].sent;
  assert.deepEqual(frame, { type: "command", name: "mail.retry", args: { id: "m1" } });
  sockets[0].deliver({ type: "result", id: secondId, ok: false, error: { code: "conflict", message: "sent already" } });
  sockets[0].deliver({ type: "result", id: firstId, ok: true, value: { rev: 2 } });
  assert.deepEqual(await first, { rev: 2 });
  await assert.rejects(second, new CommandError({ code: "conflict", message: "sent already" }));
});

test("a command without a connection, or whose connection is lost, is rejected as lost", async (t) => {
  const { feed } = opened(t);
  await assert.rejects(feed.command("send.pause", {}), { code: "lost", message: "not connected to the service" });
  accept();
  const waiting = feed.command("send.pause", {});
  drop();
  await assert.rejects(waiting, { code: "lost", message: /may have been executed/ });
});

test("a feed that is closed does not connect again", (t) => {
  const { feed, timers } = opened(t);
  accept();
  feed.close();
  assert.ok(sockets[0].isClosed);
  timers.advance(3_600_000);
  assert.equal(sockets.length, 1);
  assert.equal(feed.state, "refused");
});
