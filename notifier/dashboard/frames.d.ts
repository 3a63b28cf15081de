// The frames of the feed, `notifier.feed.v1`, and what they carry. docs/asyncapi.yaml is the reference.
//
// Only the type check reads this file, as "./frames.js"; it is not served.

/** The status of a mail, as the service stores it. */
export type Status = "pending" | "sending" | "sent" | "failed" | "cancelled" | "expired" | "uncertain";

/** The reason for which a mail exists. */
export type Kind =
  | "booking.confirmation"
  | "booking.change"
  | "booking.cancellation"
  | "flight.reminder"
  | "notification";

/** RFC 3339, UTC, with milliseconds. */
export type Time = string;

/** The number of mails in each status. */
export type Totals = Record<Status, number>;

export interface Flight {
  number: string;
  /** IATA code of the airport of departure. */
  from: string;
  /** IATA code of the airport of arrival. */
  to: string;
  departs_at: Time | null;
}

/** A reply of the SMTP server. */
export interface SmtpReply {
  code: number;
  text: string;
}

export interface Mail {
  id: string;
  /** Rises by one with every change. */
  rev: number;
  kind: Kind;
  status: Status;
  /** The address of the recipient, masked except in the answer to `mail.show`. */
  to: string;
  subject: string;
  /** The reference of the booking. */
  booking: string | null;
  flight: Flight | null;
  /** How many attempts have begun. */
  attempt: number;
  created_at: Time;
  /** Not sent before this time. */
  send_at: Time;
  /** Not sent after this time. */
  expires_at: Time | null;
  next_attempt_at: Time | null;
  sent_at: Time | null;
  message_id: string;
  /** The id of the message that caused the mail. */
  event: string;
  /** The latest reply that decided something. */
  smtp: SmtpReply | null;
  error: string | null;
}

/** One change of one mail, a CloudEvent. */
export interface MailEvent {
  specversion: "1.0";
  id: string;
  source: string;
  /** `mail.` and what happened, for example `mail.sent`. */
  type: string;
  time: Time;
  /** The id of the mail. */
  subject: string;
  data: { prev: Status | null; mail: Mail };
  traceparent?: string;
}

/** One step in the timeline of a mail. */
export interface Step {
  at: Time;
  type: string;
  status: Status;
  attempt: number;
  next_attempt_at: Time | null;
  smtp: SmtpReply | null;
  error: string | null;
}

/** The value of `mail.show`. */
export interface WholeMail extends Mail {
  timeline: Step[];
  headers: [name: string, value: string][];
  text: string | null;
  html: string | null;
  calendars: { name: string; text: string }[];
  /** A path that serves the HTML once, if the command asked for a preview and the mail has HTML. */
  preview?: string;
}

/** Which mails to watch: all fields must match, each with one of its values. */
export interface Filter {
  status?: Status[];
  kind?: Kind[];
  booking?: string[];
  mail?: string[];
  /** Earliest time of creation. */
  since?: Time;
}

/** The first frame of a client. */
export interface Hello {
  type: "hello";
  token?: string | null;
  /** The last cursor. */
  resume?: string | null;
  filter?: Filter | null;
  /** How many mails the first snapshot may have. */
  snapshot?: number;
  /** Seconds between two `stats`; 0 means none. */
  stats?: number;
}

/** Asks for other mails; a snapshot with the same id follows. */
export interface Refilter {
  type: "filter";
  filter: Filter | null;
  id?: string;
  snapshot?: number;
}

/** The arguments and the value of each command that the dashboard uses. */
export interface Commands {
  submit: { args: { message: object }; value: { mails: string[]; repeated: boolean } };
  "mail.list": {
    args: { filter?: Filter; before?: number | null; limit?: number };
    value: { mails: Mail[]; next: number | null };
  };
  "mail.show": { args: { id: string; preview?: boolean }; value: WholeMail };
  "mail.retry": { args: { id: string }; value: Mail };
  "mail.cancel": { args: { id: string }; value: Mail };
  "mail.resolve": { args: { id: string; as: "sent" | "resend" }; value: Mail };
  "send.pause": { args: {}; value: { paused: boolean } };
  "send.resume": { args: {}; value: { paused: boolean } };
}

/** The answer to `hello`. */
export interface Welcome {
  type: "welcome";
  protocol: 1;
  server: string;
  role: "viewer" | "operator";
  resumed: boolean;
  /** Why it was not resumed. */
  reason?: "none" | "expired" | "restarted" | "filter_changed" | "invalid";
  /** How many missed events follow. */
  replay: number;
  /** Seconds after which a frame comes in any case. */
  heartbeat: number;
  now: Time;
}

/** All mails of a filter, the latest first. */
export interface Snapshot {
  type: "snapshot";
  cursor: string;
  totals: Totals;
  mails: Mail[];
  /** Whether the store has more mails that match. */
  more: boolean;
  id?: string | number | null;
}

export interface Events {
  type: "events";
  cursor: string;
  events: MailEvent[];
}

/** The state of one SMTP account. */
export interface Transport {
  /** Its name, for example `smtp.example.com:587`. */
  transport: string;
  state: "ready" | "paused";
  reason: string | null;
  /** The time of the next attempt. */
  until: Time | null;
  quota_left: number | null;
}

export interface Stats {
  type: "stats";
  at: Time;
  totals: Totals;
  /** The pending mails by what they wait for. */
  pending: { due: number; scheduled: number; retrying: number };
  /** Mails per second. */
  rates: { received: number; sent: number; failed: number };
  /** The queue of incoming messages, if the broker is connected. */
  queue: { messages: number; consumers: number } | null;
  broker: { state: "connected" | "connecting" | "off"; since: Time | null };
  smtp: Transport[];
  /** Whether an operator has paused sending. */
  paused: boolean;
  oldest_due: Time | null;
}

export interface Failure {
  code: string;
  message: string;
}

/** The result of the command with the same id. */
export type Result =
  | { type: "result"; id: string; ok: true; value: unknown }
  | { type: "result"; id: string; ok: false; error: Failure };

/** Comes before a planned close. */
export interface Bye {
  type: "bye";
  code: number;
  reconnect: boolean;
  after_ms: number;
}

export type ServerFrame = Welcome | Snapshot | Events | Stats | Result | Bye;
