import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, condition, counted, detail, flight, number, shown, span } from "../../../notifier/dashboard/words.js";
import { NOW, at, mail } from "../../support/dashboard/samples.mjs";

test("a pending mail is waiting, scheduled or retrying", () => {
  assert.equal(condition(mail(), NOW), "waiting");
  assert.equal(condition(mail({ send_at: at(1) }), NOW), "scheduled");
  assert.equal(condition(mail({ attempt: 1, send_at: at(1) }), NOW), "retrying");
});

test("any other status is the condition, even if the page does not know it", () => {
  assert.equal(condition(mail({ status: "sent", attempt: 3 }), NOW), "sent");
  assert.equal(condition(mail({ status: "archived" }), NOW), "archived");
  assert.equal(shown("sent").word, "Sent");
  for (const name of ["archived", "constructor"]) assert.equal(shown(name).word, name);
});

test("a span of time has its largest unit", () => {
  const seconds = [-5, 0, 99, 100, 5999, 6000, 48 * 3600 - 1801, 48 * 3600];
  const spans = ["0 s", "0 s", "99 s", "2 min", "100 min", "2 h", "47 h", "2 d"];
  assert.deepEqual(seconds.map((each) => span(each * 1000)), spans);
});

test("the detail of a scheduled mail is when it is due", () => {
  assert.match(detail(mail({ send_at: at(7200) }), NOW), /^due in 2 h \(.+\)$/);
});

test("the detail of a retrying mail is its attempts, its next one and the reason", () => {
  const retrying = mail({ attempt: 2, next_attempt_at: at(300), smtp: { code: 450, text: "busy" }, error: "later" });
  assert.equal(detail(retrying, NOW), "2 attempts, retrying in 5 min: 450 busy; later");
  assert.equal(detail({ ...retrying, attempt: 1, smtp: null, error: null }, NOW + 300_000), "1 attempt, retrying now");
});

test("the detail of a sent mail says how many attempts it took, if more than one", () => {
  assert.equal(detail(mail({ status: "sent", attempt: 1 }), NOW), "");
  assert.equal(detail(mail({ status: "sent", attempt: 3 }), NOW), "after 3 attempts");
  assert.equal(detail(mail({ status: "sent", attempt: 3, error: "by hand" }), NOW), "after 3 attempts; by hand");
});

test("the detail of a failed mail is the reply and the error", () => {
  const failed = mail({ status: "failed", smtp: { code: 550, text: "no such user" } });
  assert.equal(detail(failed, NOW), "550 no such user");
  assert.equal(detail({ ...failed, error: "gave up" }, NOW), "550 no such user; gave up");
  assert.equal(detail(mail({ status: "cancelled" }), NOW), "");
});

test("a time has a date unless it is today's", () => {
  const today = new Date();
  assert.equal(clock(null), "");
  assert.doesNotMatch(clock(today.getTime()), /[A-Z][a-z]{2} \d/);
  assert.match(clock("2001-12-01T05:15:00Z"), /^Dec 1, 05:15\sAM$/);
});

test("a flight is its number, its airports and its departure", () => {
  const departs_at = "2001-12-01T05:15:00Z";
  assert.match(flight({ number: "AI101", from: "DEL", to: "BLR", departs_at }), /^AI101 DEL–BLR Dec 1, 05:15\sAM$/);
  assert.equal(flight(null), "");
});

test("numbers are grouped and counted", () => {
  assert.equal(number(12345), "12,345");
  assert.equal(counted(1, "new mail"), "1 new mail");
  assert.equal(counted(1200, "new mail"), "1,200 new mails");
});
