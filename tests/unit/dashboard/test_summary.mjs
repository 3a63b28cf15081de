import assert from "node:assert/strict";
import { test } from "node:test";
import { peers, summary } from "../../../notifier/dashboard/summary.js";
import { account, stats } from "../../support/dashboard/samples.mjs";

test("the broker and each account have a mark", () => {
  const smtp = [account(), account({ transport: "other:25", state: "paused" })];
  assert.deepEqual(peers(stats({ smtp })), [
    { className: "good", text: "✓ RabbitMQ connected", title: "" },
    { className: "good", text: "✓ SMTP ready", title: "smtp.example.com:587" },
    { className: "bad", text: "✕ SMTP paused", title: "other:25" },
  ]);
});

test("a broker that is connecting is marked, and one that is switched off is left out", () => {
  const first = (state) => peers(stats({ broker: { state, since: null } }))[0].text;
  assert.equal(first("connecting"), "✕ RabbitMQ connecting");
  assert.equal(first("off"), "✓ SMTP ready");
});

test("the summary has the connection, the counts and what is wrong", () => {
  const frame = stats();
  const text = summary("live", { totals: frame.totals, stats: frame }, ["Sending is paused."]);
  assert.equal(text, "Live. Mails: 1 waiting, 2 scheduled, 3 retrying, 2 failed. Sending is paused.");
});
