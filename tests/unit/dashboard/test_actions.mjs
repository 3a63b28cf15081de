import assert from "node:assert/strict";
import { test } from "node:test";
import { NAMES, command, possible } from "../../../notifier/dashboard/actions.js";
import { NOW, at, mail } from "../../support/dashboard/samples.mjs";

test("what can be done depends on the condition of the mail", () => {
  const actions = (changes) => possible(mail(changes), NOW);
  assert.deepEqual(actions({}), ["cancel"]);
  assert.deepEqual(actions({ send_at: at(60) }), ["cancel"]);
  assert.deepEqual(actions({ attempt: 1 }), ["retry", "cancel"]);
  assert.deepEqual(actions({ status: "failed" }), ["retry"]);
  assert.deepEqual(actions({ status: "uncertain" }), ["sent", "resend"]);
  for (const status of ["sending", "sent", "cancelled", "expired", "archived", "constructor"]) {
    assert.deepEqual(actions({ status }), [], status);
  }
});

test("each action is one command", () => {
  assert.deepEqual(Object.keys(NAMES).map((action) => command(action, "m1")), [
    ["mail.retry", { id: "m1" }],
    ["mail.cancel", { id: "m1" }],
    ["mail.resolve", { id: "m1", as: "sent" }],
    ["mail.resolve", { id: "m1", as: "resend" }],
  ]);
});
