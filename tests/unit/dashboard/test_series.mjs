import assert from "node:assert/strict";
import { test } from "node:test";
import { Series } from "../../../notifier/dashboard/series.js";
import { NOW } from "../../support/dashboard/samples.mjs";

/** Return a series with a point for each value, one second apart. */
function series(...values) {
  const made = new Series();
  values.forEach((value, index) => made.add(NOW + index * 1000, value));
  return made;
}

test("points are kept for five minutes", () => {
  const { points } = series(...Array(1000).fill(1));
  assert.equal(points.length, 301);
  assert.equal(points[0].at, NOW + 699_000);
});

test("a clock that is set back removes the points that are now in the future", () => {
  const made = series(1, 1, 1, 1);
  made.add(NOW + 1000, 2);
  assert.deepEqual(made.points, [{ at: NOW, values: [1] }, { at: NOW + 1000, values: [2] }]);
});

test("the peak is the largest value of all lines, at least 1", () => {
  const made = new Series();
  assert.equal(made.peak, 1);
  made.add(NOW, 0.5, 0.2);
  assert.equal(made.peak, 1);
  made.add(NOW + 1, 3, 7);
  assert.equal(made.peak, 7);
});

test("a line ends at the right edge, with its peak at the top", () => {
  const made = new Series();
  made.add(NOW, 0, 4);
  made.add(NOW + 150_000, 4, 0);
  assert.equal(made.polyline(0), "300.0,119.0 600.0,1.0");
  assert.equal(made.polyline(1), "300.0,1.0 600.0,119.0");
  assert.equal(new Series().polyline(0), "");
});

test("the table has at most ten rows, the latest first", () => {
  const rows = series(...Array(25).keys()).sample();
  assert.deepEqual(rows.map(({ values }) => values[0]), [24, 21, 18, 15, 12, 9, 6, 3, 0]);
  assert.equal(series(1, 2).sample().length, 2);
});
