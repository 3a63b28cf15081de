// A live list of mails: keeps the feed open, applies what it says, and draws at most once a frame.

const KEPT = 200;
const BACK_OFF = [200, 500, 1000, 2000, 5000];
const byId = (id) => document.getElementById(id);

const mails = new Map();
const rows = new Map();
let totals = {};
let cursor = null;
let token = null;
let tries = 0;
let live = false;
let drawing = false;

function connect() {
  const url = new URL("feed", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, "notifier.feed.v1");
  socket.onopen = () => {
    const hello = { type: "hello", snapshot: KEPT };
    if (token) hello.token = token;
    if (cursor) hello.resume = cursor;
    socket.send(JSON.stringify(hello));
  };
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = ({ code, reason }) => {
    live = false;
    const mustChange = code >= 4400 && code < 4500;
    byId("login").hidden = code !== 4401;
    say(mustChange ? reason : "connection lost, trying again");
    draw();
    if (!mustChange) setTimeout(connect, BACK_OFF[Math.min(tries++, BACK_OFF.length - 1)]);
  };
}

function receive(frame) {
  if (frame.cursor) cursor = frame.cursor;
  if (frame.type === "welcome") {
    tries = 0;
    live = true;
    byId("login").hidden = true;
    say("live");
  } else if (frame.type === "snapshot") {
    mails.clear();
    totals = { ...frame.totals };
    for (const mail of frame.mails) mails.set(mail.id, { ...mail, changed: mail.sent_at ?? mail.created_at });
  } else if (frame.type === "events") {
    frame.events.forEach(apply);
  } else {
    return;
  }
  draw();
}

function apply({ time, data: { prev, mail } }) {
  if (prev) totals[prev] -= 1;
  totals[mail.status] = (totals[mail.status] ?? 0) + 1;
  const known = mails.get(mail.id);
  if (!known || mail.rev > known.rev) mails.set(mail.id, { ...mail, changed: time });
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const newest = [...mails.values()].sort((a, b) => b.changed.localeCompare(a.changed)).slice(0, KEPT);
    const kept = new Set(newest.map((mail) => mail.id));
    for (const id of [...mails.keys()].filter((each) => !kept.has(each))) mails.delete(id);
    for (const [id, row] of rows) if (!kept.has(id)) { row.remove(); rows.delete(id); }
    const body = byId("mails");
    newest.forEach((mail, index) => {
      const row = rowOf(mail);
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    });
    byId("empty").hidden = newest.length > 0;
    byId("totals").textContent = Object.entries(totals).map(([status, n]) => `${status} ${n}`).join(" · ");
  });
}

function rowOf(mail) {
  let row = rows.get(mail.id);
  if (!row) {
    row = document.createElement("tr");
    for (let i = 0; i < 6; i += 1) row.append(document.createElement("td"));
    rows.set(mail.id, row);
  }
  row.className = live ? "" : "stale";
  if (row.dataset.rev !== String(mail.rev)) {
    row.dataset.rev = mail.rev;
    row.cells[0].dataset.status = mail.status;
    const detail = mail.smtp ? `${mail.smtp.code} ${mail.smtp.text}` : mail.error;
    const later = mail.status === "pending" ? `at ${clock(mail.next_attempt_at ?? mail.send_at)}` : null;
    const texts = [mail.status, clock(mail.changed), mail.kind, mail.to, mail.subject, detail ?? later ?? ""];
    texts.forEach((text, i) => { row.cells[i].textContent = text; });
  }
  return row;
}

function clock(time) {
  return new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
}

function say(text) {
  byId("connection").textContent = text;
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = new FormData(event.target).get("token");
  connect();
});
connect();
