// Book flights, and publish a message about each booking through a transactional outbox, with amqplib.
//
//   npm install amqplib
//   node publish.mjs [HOW_MANY]     makes that many bookings (default 1), then publishes the messages of the outbox
//
// NOTIFIER_AMQP_URL is the broker, NOTIFIER_AMQP_EXCHANGE (default bookings) the exchange, and OUTBOX (default
// outbox.jsonl) the file that stands for the booking service's own database. The file is a journal, so that this
// example needs no database driver: one line holds a booking together with its message, so both are stored or neither
// is, and one line {"published": [ids]} marks messages as published. With a database these are the two tables of
// publish.py, and `book` is one transaction on them.

import { randomUUID } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import amqp from "amqplib";

const OUTBOX = process.env.OUTBOX ?? "outbox.jsonl";
const EXCHANGE = process.env.NOTIFIER_AMQP_EXCHANGE ?? "bookings";

/** Append one line and wait until it is on disk: the commit. */
function commit(entry) {
  const file = openSync(OUTBOX, "a", 0o600);
  writeSync(file, `\n${JSON.stringify(entry)}\n`); // the leading newline ends a line that a crash cut off
  fsyncSync(file);
  closeSync(file);
}

/** Return the messages that are not marked as published, in order. */
function pending() {
  const found = new Map();
  for (const line of existsSync(OUTBOX) ? readFileSync(OUTBOX, "utf8").split("\n") : []) {
    let entry = {};
    try {
      entry = JSON.parse(line);
    } catch {
      continue; // an empty line, or one that was cut off before its commit
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
    id: randomUUID(), // made once, so that a message that is published twice keeps its id
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

/**
 * Publish the messages that are not marked, and mark them once the broker has confirmed them. After a crash in between
 * they are published again.
 */
async function publishPending(channel) {
  const returned = [];
  channel.on("return", (message) => returned.push(message.properties.messageId)); // arrives before the confirm
  for (let batch; (batch = pending().slice(0, 100)).length; ) {
    for (const message of batch) {
      channel.publish(EXCHANGE, message.type, Buffer.from(JSON.stringify(message)), {
        contentType: "application/cloudevents+json",
        messageId: message.id,
        persistent: true,
        mandatory: true,
      });
    }
    await channel.waitForConfirms(); // rejects if the broker refuses one
    if (returned.length) {
      throw new Error(`no queue is bound to ${EXCHANGE}: start notifier, or run notifier topology declare`);
    }
    commit({ published: batch.map((message) => message.id) });
    console.log(`published ${batch.length}`);
  }
}

const departsAt = new Date(Date.now() + 48 * 3600 * 1000).toISOString();
for (let n = 0; n < Number(process.argv[2] ?? 1); n++) book("asha@example.com", departsAt);
const connection = await amqp.connect(process.env.NOTIFIER_AMQP_URL, { timeout: 30_000 });
await publishPending(await connection.createConfirmChannel());
await connection.close();
