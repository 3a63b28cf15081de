import assert from "node:assert/strict";
import { test } from "node:test";
import { Lookup } from "../../../notifier/dashboard/lookup.js";
import { fakeBrowser } from "../../support/dashboard/browser.mjs";

/** Return a lookup, with the lists of its queries, results and errors. */
function lookup(answer) {
  const [asked, found, errors] = [[], [], []];
  const list = (filter, limit) => {
    asked.push([filter, limit]);
    return answer();
  };
  const made = new Lookup({ list, onFound: (page) => found.push(page), onError: (error) => errors.push(error) });
  return { made, asked, found, errors };
}

test("the store is asked once, after the reader has stopped typing", async (t) => {
  const timers = fakeBrowser(t);
  const { made, asked, found } = lookup(async () => ({ mails: [], next: null }));
  made.start({ booking: ["rxj3"] });
  timers.advance(299);
  made.start({ booking: ["rxj34p"] });
  timers.advance(299);
  assert.deepEqual(asked, []);
  timers.advance(1);
  await new Promise(setImmediate);
  assert.deepEqual(asked, [[{ booking: ["rxj34p"] }, 100]]);
  assert.deepEqual(found, [{ mails: [], next: null }]);
});

test("a search without a filter cancels the one before", (t) => {
  const timers = fakeBrowser(t);
  const { made, asked } = lookup(async () => ({ mails: [], next: null }));
  made.start({ booking: ["rxj3"] });
  made.start(null);
  timers.advance(1000);
  assert.deepEqual(asked, []);
});

test("an error is passed on", async (t) => {
  const timers = fakeBrowser(t);
  const error = new Error("unavailable");
  const { made, errors } = lookup(() => Promise.reject(error));
  made.start({ mail: ["m1"] });
  timers.advance(300);
  await new Promise(setImmediate);
  assert.deepEqual(errors, [error]);
});
