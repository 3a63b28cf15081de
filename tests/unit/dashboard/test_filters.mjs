import assert from "node:assert/strict";
import { test } from "node:test";
import { Filters } from "../../../notifier/dashboard/filters.js";
import { NOW, at, mail } from "../../support/dashboard/samples.mjs";

test("filters are written into the address and read from it again", () => {
  const query = "?show=failed%2Cretrying&kind=flight.reminder&since=1h&q=a+b";
  assert.equal(Filters.read(query).write(), query);
  assert.equal(new Filters().write(), "");
});

test("values that are not valid are left out", () => {
  const filters = Filters.read("?since=constructor&show=constructor,toString,sent&kind=bogus&other=1");
  assert.equal(filters.write(), "?show=sent");
  assert.equal(Filters.read("?since=constructor").empty, true);
});

test("the feed is asked for statuses, a kind and a time of creation", () => {
  const wanted = { show: ["waiting", "retrying", "failed"], kind: "notification", since: "15m" };
  assert.deepEqual(new Filters(wanted, NOW).forFeed(), {
    status: ["pending", "failed"],
    kind: ["notification"],
    since: at(-900),
  });
  assert.deepEqual(new Filters({ q: "rxj34p" }).forFeed(), {});
});

test("a span keeps its beginning when another filter changes", () => {
  const first = new Filters({ since: "1h" }, NOW);
  const second = new Filters({ since: "1h", q: "x", from: first.from }, NOW + 60_000);
  assert.deepEqual(second.forFeed(), first.forFeed());
});

test("the list is narrowed to the exact condition", () => {
  const filters = new Filters({ show: ["scheduled"] });
  assert.equal(filters.wants(mail({ send_at: at(1) }), NOW), true);
  assert.equal(filters.wants(mail(), NOW), false);
});

test("the search reads every text of a mail, in any case", () => {
  const found = (q, changes = {}) => new Filters({ q }).wants(mail(changes), NOW);
  for (const q of ["YOUR BOOKING", "a•••@", "confirmation", "rxj34p", "m1", "e1", "ai101", "del", "blr"]) {
    assert.ok(found(q), q);
  }
  assert.equal(found("zz"), false);
  assert.equal(found("del", { flight: null }), false);
});

test("only an id or a reference is looked up in the store", () => {
  const id = "01234567-89ab-cdef-0123-456789abcdef";
  assert.deepEqual(new Filters({ q: id }).lookup(), { mail: [id] });
  assert.deepEqual(new Filters({ q: "rxj34p" }).lookup(), { booking: ["rxj34p", "RXJ34P"] });
  assert.deepEqual(new Filters({ q: "RXJ34P" }).lookup(), { booking: ["RXJ34P"] });
  for (const q of ["", "abc", "two words", "x".repeat(65)]) assert.equal(new Filters({ q }).lookup(), null);
});
