import assert from "node:assert/strict";
import { test } from "node:test";
import { facts, steps, texts } from "../../../notifier/dashboard/details.js";
import { NOW, at, mail } from "../../support/dashboard/samples.mjs";

test("the facts leave out what is unknown or empty", () => {
  assert.deepEqual(facts({ id: "m1" }, NOW), [["Mail ID", "m1"]]);
  const names = facts(mail({ booking: null, status: "sent", sent_at: at(0) }), NOW).map(([name]) => name);
  const times = ["Created", "Scheduled for", "Sent"];
  assert.deepEqual(names, ["Status", "To", "Kind", "Flight", ...times, "Message-ID", "Caused by message", "Mail ID"]);
});

test("the facts have the condition of the mail in words", () => {
  const found = Object.fromEntries(facts(mail({ attempt: 1, next_attempt_at: at(30) }), NOW));
  assert.equal(found.Status, "Retrying");
  assert.equal(found.Detail, "1 attempt, retrying in 30 s");
});

test("a step of the timeline has the server's reply, the error and the next attempt", () => {
  const step = { at: at(0), status: "pending", attempt: 1, next_attempt_at: null, smtp: null, error: null };
  const smtp = { code: 450, text: "busy" };
  const [created, begun, refused] = steps([
    { ...step, type: "mail.pending", attempt: 0 },
    { ...step, type: "mail.sending", status: "sending", smtp },
    { ...step, type: "mail.retrying", smtp, error: "later", next_attempt_at: at(60) },
  ]);
  assert.deepEqual([created.what, created.attempt, created.lines], ["pending", "", []]);
  assert.deepEqual([begun.what, begun.attempt, begun.lines], ["sending", " (attempt 1)", []]);
  assert.deepEqual(refused.lines.slice(0, 2), ["450 busy", "later"]);
  assert.match(refused.lines[2], /^next attempt: .+/);
});

test("the parts of a mail are shown as text, without those that it does not have", () => {
  const headers = [["Subject", "Hello"], ["To", "a@example.com"]];
  const calendars = [{ name: "a.ics", text: "ONE" }, { name: "b.ics", text: "TWO" }];
  assert.deepEqual(texts({ text: "Hi", headers, calendars }), [
    ["Text", "Hi"],
    ["Headers", "Subject: Hello\nTo: a@example.com"],
    ["Calendar", "ONE\nTWO"],
  ]);
  assert.deepEqual(texts({ text: null, headers: [], calendars: [] }), [["Headers", ""]]);
});
