import assert from "node:assert/strict";
import { test } from "node:test";
import { State } from "../../../notifier/dashboard/state.js";
import { at, events, mail, snapshot, stats, welcome } from "../../support/dashboard/samples.mjs";

const ids = (state) => state.latest().map(({ id }) => id);

test("a snapshot replaces everything", () => {
  const state = new State();
  state.apply(snapshot([mail({ id: "old" })]));
  assert.deepEqual(state.apply(snapshot([mail(), mail({ id: "m2" })], { more: true })), ["m1", "m2"]);
  assert.deepEqual(ids(state), ["m2", "m1"]);
  assert.equal(state.totals.pending, 2);
  assert.equal(state.more, true);
});

test("the mails are in the order of their latest change", () => {
  const state = new State();
  const [a, b] = [mail({ id: "a", created_at: at(-2) }), mail({ id: "b", created_at: at(-9), sent_at: at(-1) })];
  state.apply(snapshot([a, b]));
  assert.deepEqual(ids(state), ["b", "a"]);
  state.apply(events([{ ...a, rev: 2 }], 5));
  assert.deepEqual(ids(state), ["a", "b"]);
});

test("an event counts only if its revision is newer", () => {
  const state = new State();
  state.apply(snapshot([mail({ rev: 3, subject: "three" })]));
  assert.deepEqual(state.apply(events([mail({ rev: 3, subject: "again" }), mail({ rev: 2, subject: "two" })])), []);
  assert.equal(state.mails.get("m1").subject, "three");
  assert.deepEqual(state.apply(events([mail({ rev: 4, subject: "four" })])), ["m1"]);
  assert.equal(state.mails.get("m1").subject, "four");
});

test("a mail whose status leaves the filter leaves the list", () => {
  const state = new State();
  const filter = { status: ["pending"] };
  state.apply(snapshot([mail()]));
  assert.deepEqual(state.apply(events([mail({ rev: 2, status: "sent" })]), filter), ["m1"]);
  assert.deepEqual(ids(state), []);
});

test("only the mails that changed last are kept, and those that are pinned", () => {
  const state = new State(10);
  state.apply(snapshot([]));
  state.pin([mail({ id: "pinned", created_at: at(-9999) })]);
  for (let n = 0; n < 12; n += 1) state.apply(events([mail({ id: `m${n}` })], n));
  assert.equal(state.mails.size, 11);
  assert.deepEqual(ids(state).slice(0, 2), ["m11", "m10"]);
  assert.ok(state.mails.has("pinned"));
  assert.equal(state.more, true);
});

test("mails are forgotten several at once", () => {
  const state = new State(10);
  for (let n = 0; n < 12; n += 1) state.apply(events([mail({ id: `m${n}` })], n));
  assert.equal(state.mails.size, 12);
  assert.equal(state.more, false);
  state.apply(events([mail({ id: "m12" })], 12));
  assert.equal(state.mails.size, 10);
});

test("pinning never replaces a newer revision", () => {
  const state = new State();
  state.apply(snapshot([mail({ rev: 2 })]));
  state.pin([mail({ rev: 1 })]);
  assert.equal(state.mails.get("m1").rev, 2);
});

test("a reload is counted if the feed had a state and could not resume", () => {
  const state = new State();
  state.apply(welcome({ reason: "expired" }));
  assert.equal(state.reloads, 0);
  state.apply(snapshot([]));
  state.apply(welcome());
  state.apply(welcome({ resumed: true, reason: undefined }));
  assert.equal(state.reloads, 0);
  state.apply(welcome({ reason: "expired" }));
  assert.equal(state.reloads, 1);
});

test("stats update the totals", () => {
  const state = new State();
  state.apply(stats());
  assert.equal(state.totals.sent, 20);
  assert.equal(state.stats.pending.retrying, 3);
});

test("a frame of an unknown type changes nothing", () => {
  assert.deepEqual(new State().apply({ type: "later" }), []);
});
