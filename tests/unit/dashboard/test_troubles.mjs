import assert from "node:assert/strict";
import { test } from "node:test";
import { troubles } from "../../../notifier/dashboard/troubles.js";
import { account, at, stats } from "../../support/dashboard/samples.mjs";

const LIVE = { state: "live", code: 0, reason: "", retryAt: 0 };
const paused = (changes = {}) => account({ state: "paused", reason: "connection refused", until: at(30), ...changes });

test("nothing is wrong while all parts work", () => {
  assert.deepEqual(troubles(LIVE, stats()), []);
  assert.deepEqual(troubles(LIVE, null), []);
});

test("a lost connection has its reason and the time of the next attempt, and hides older troubles", () => {
  const lost = { ...LIVE, state: "lost", reason: "the connection was lost", retryAt: Date.parse(at(3)) };
  const [text, ...others] = troubles(lost, stats({ paused: true }));
  assert.match(text, /^Not connected to the service: the connection was lost\. Reconnecting at .+; the list shows /);
  assert.deepEqual(others, []);
});

test("a refusal has its reason, except that a missing token is left to the form that asks for it", () => {
  const refused = { ...LIVE, state: "refused", reason: "too many commands" };
  assert.deepEqual(troubles({ ...refused, code: 4429 }, null), ["Not connected to the service: too many commands."]);
  assert.deepEqual(troubles({ ...refused, code: 4401 }, null), []);
});

test("a pause by an operator is a trouble", () => {
  assert.match(troubles(LIVE, stats({ paused: true })).join(), /^Sending is paused by an operator\. /);
});

test("an unavailable broker is a trouble, but not one that is switched off", () => {
  const broker = (state, since) => troubles(LIVE, stats({ broker: { state, since } })).join();
  assert.match(broker("connecting", at(-60)), /^RabbitMQ has been unavailable since .+\. New messages wait there;/);
  assert.match(broker("connecting", null), /^RabbitMQ is unavailable\. /);
  assert.equal(broker("off", null), "");
});

test("a paused account has its reason, the next attempt and what that means", () => {
  const one = troubles(LIVE, stats({ smtp: [paused()] })).join();
  assert.match(one, /^SMTP account smtp\.example\.com:587 is paused: connection refused\. Next attempt at .+\. No /);
  const oneOfTwo = troubles(LIVE, stats({ smtp: [paused({ until: null }), account()] })).join();
  assert.match(oneOfTwo, /is paused: connection refused\. The other accounts still send\.$/);
});
