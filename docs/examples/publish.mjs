// Book flights, and tell notifier of every booking: a transactional outbox, with amqplib.
//
//   npm install amqplib
//   node publish.mjs [HOW_MANY]     books so many flights (default 1), then publishes what the outbox holds
//
// NOTIFIER_AMQP_URL is the broker, NOTIFIER_AMQP_EXCHANGE (default bookings) the exchange, OUTBOX (default outbox.jsonl)
// the file that stands for the booking service's own database. It is a journal, so that this example needs no database
// driver: one line holds a booking together with its message, so both are there or neither is, and one line
// {"published": [ids]} marks messages. With a database these are the two tables of publish.py, and `book` is one
// transaction on them.

import { randomUUID } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import amqp from "amqplib";

const OUTBOX = process.env.OUTBOX ?? "outbox.jsonl";
const EXCHANGE = process.env.NOTIFIER_AMQP_EXCHANGE ?? "bookings";

/** Append one line and wait until it is on disk: the commit. */
function commit(entry) {
  const file = openSync(OUTBOX, "a", 0o600);
  writeSync(file, `\n${JSON.stringify(entry)}\n`); // the first line end closes a line that a crash left half written
  fsyncSync(file);
  closeSync(file);
}

/** Read the messages that are not marked, in order. */
function pending() {
  const found = new Map();
  for (const line of existsSync(OUTBOX) ? readFileSync(OUTBOX, "utf8").split("\n") : []) {
    let entry = {};
    try {
      entry = JSON.parse(line);
    } catch {
      continue; // empty, or never committed
    }
    if (entry.message) found.set(entry.message.id, entry.message);
    for (const id of entry.published ?? []) found.delete(id);
  }
  return [...found.values()];
}

/** Store a booking and the message about it in one step. */
function book(email, departsAt) {
  const reference = randomUUID().slice(0, 6).toUpperCase();
  const message = {
    specversion: "1.0",
    id: randomUUID(), // made once, here: however often it is published, it is the same message
    source: "/booking-service",
    type: "booking.confirmed",
    time: new Date().toISOString(),
    data: {
      booking: reference,
      version: 1,
      passengers: [{ name: "Asha Rao", email }],
      flights: [{ number: "AI101", from: "DEL", to: "BLR", departs_at: departsAt }],
    },
  };
  commit({ booking: { reference, email, departs_at: departsAt }, message });
}

/** Publish what is not marked, and mark it once the broker has confirmed it; killed in between, it is published again. */
async function publishPending(channel) {
  const returned = [];
  channel.on("return", (message) => returned.push(message.properties.messageId)); // comes before its confirm
  for (let batch; (batch = pending().slice(0, 100)).length; ) {
    for (const message of batch) {
      channel.publish(EXCHANGE, message.type, Buffer.from(JSON.stringify(message)), {
        contentType: "application/cloudevents+json",
        messageId: message.id,
        persistent: true,
        mandatory: true,
      });
    }
    await channel.waitForConfirms(); // rejects where the broker could not take one
    if (returned.length) throw new Error(`no queue is bound to ${EXCHANGE}: start notifier, or run notifier topology declare`);
    commit({ published: batch.map((message) => message.id) });
    console.log(`published ${batch.length}`);
  }
}

const departsAt = new Date(Date.now() + 48 * 3600 * 1000).toISOString();
for (let n = 0; n < Number(process.argv[2] ?? 1); n++) book("asha@example.com", departsAt);
const connection = await amqp.connect(process.env.NOTIFIER_AMQP_URL, { timeout: 30_000 });
await publishPending(await connection.createConfirmChannel());
await connection.close();
