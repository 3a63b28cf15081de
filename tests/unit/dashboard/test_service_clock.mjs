import assert from "node:assert/strict";
import { test } from "node:test";
import { ServiceClock } from "../../../notifier/dashboard/service_clock.js";
import { NOW, at } from "../../support/dashboard/samples.mjs";

test("the service's time goes on from the time that it sent last", () => {
  let local = NOW;
  const clock = new ServiceClock(() => local);
  assert.equal(clock.now(), NOW);
  clock.set(at(3600));
  local += 5000;
  assert.equal(clock.now(), NOW + 3_605_000);
});

test("a minute more or less makes no difference", () => {
  const clock = new ServiceClock(() => NOW);
  assert.equal(clock.set(at(60)), false);
  assert.equal(clock.set(at(121)), true);
  assert.equal(clock.set(at(60)), true);
  assert.equal(clock.set(at(60)), false);
});
