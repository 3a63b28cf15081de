import assert from "node:assert/strict";
import { test } from "node:test";
import { count, pending } from "../../../notifier/dashboard/counts.js";
import { stats } from "../../support/dashboard/samples.mjs";

test("the pending mails are divided by what they wait for", () => {
  const frame = stats();
  assert.deepEqual(pending(frame.totals, frame), { waiting: 1, scheduled: 2, retrying: 3 });
});

test("before the first stats all pending mails count as waiting", () => {
  assert.deepEqual(pending({ pending: 6 }, null), { waiting: 6, scheduled: 0, retrying: 0 });
  assert.deepEqual(pending({}, null), { waiting: 0, scheduled: 0, retrying: 0 });
});

test("every condition has a count", () => {
  const frame = stats();
  const counts = ["waiting", "retrying", "sent", "failed", "unknown"].map((name) => count(name, frame.totals, frame));
  assert.deepEqual(counts, [1, 3, 20, 2, 0]);
});
