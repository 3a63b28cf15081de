// The page: what the feed says becomes rows, counts and lines; what the reader does becomes filters and commands.

import { command } from "./actions.js";
import { Chart } from "./chart.js";
import { Controls } from "./controls.js";
import { byId } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Feed } from "./feed.js";
import { Health } from "./health.js";
import { Rows } from "./rows.js";
import { State } from "./state.js";
import { Tiles, split } from "./tiles.js";
import { number } from "./words.js";

const KEPT = 500;
const MOST_SKEW = 60_000; // ms between two clocks that make no difference
const LOOK_UP_AFTER = 300; // ms without another letter

const feedUrl = new URL("feed", location.origin + location.pathname);
feedUrl.protocol = feedUrl.protocol.replace("http", "ws");

const state = new State(KEPT);
let skew = 0; // ms that the service's clock is ahead of ours
const controls = new Controls({ onNarrow: narrow, now: () => Date.now() + skew });
const feed = new Feed(feedUrl, {
  snapshot: KEPT,
  stats: 1,
  token: sessionStorage.getItem("token"),
  filter: controls.filters.forFeed(),
  onFrame: receive,
  onChange: connectionChanged,
});
const health = new Health(feed, state);
const rows = new Rows(byId("mails"), { onOpen: look });
const tiles = new Tiles(byId("tiles"), { onChoose: (name) => controls.choose(name) });
const drawer = new Drawer(byId("drawer"), {
  show: (id) => feed.command("mail.show", { id, preview: true }),
  onClose: leave,
});
const traffic = new Chart(byId("charts"), "Mails a second", ["received", "sent"]);
const backlog = new Chart(byId("charts"), "Backlog", ["waiting"]);

let isPaused = false;
let isScrolled = false; // beyond the top of the list
let isRearranged = false; // another list than before: nothing of it is held back
let isDrawing = false;
let lookUp = null;

function receive(frame) {
  const reloads = state.reloads;
  const changed = state.apply(frame, feed.filter);
  if (state.reloads > reloads) say("The list was loaded anew: what happened meanwhile is no longer in the log.");
  if (frame.type === "welcome") setClock(Date.parse(frame.now) - Date.now());
  if (frame.type === "stats") drawCharts(frame);
  if (frame.type === "snapshot") {
    isRearranged = true;
    findElsewhere();
  }
  if (drawer.open && changed.includes(drawer.id)) drawer.look(drawer.id, state.mails.get(drawer.id));
  draw();
}

/** Note how far the service's clock is ahead of ours; a span that was chosen by ours begins elsewhere if that is much. */
function setClock(ahead) {
  const isElsewhere = Math.abs(ahead - skew) > MOST_SKEW;
  skew = ahead;
  if (isElsewhere && controls.filters.since) controls.narrow({ since: controls.filters.since });
}

function connectionChanged() {
  const needsToken = feed.state === "refused" && feed.code === 4401;
  if (needsToken && byId("login").hidden) {
    byId("login").hidden = false;
    byId("login-why").textContent = feed.token ? "The one that was given is not valid." : "";
    byId("login").elements.token.focus();
  }
  if (feed.state === "live") {
    byId("login").hidden = true;
    if (drawer.open) look(drawer.id); // it may have changed, or could not be shown
    else if (location.hash) look(location.hash.slice(1));
  }
  draw();
}

/** Draw with the next frame of the screen, however much happens until then. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    health.draw();
    tiles.show(state, controls.only, Date.now() + skew);
    drawList(Date.now() + skew);
  });
}

function drawCharts({ at, rates, queue, totals, pending }) {
  traffic.add(Date.parse(at), rates.received, rates.sent);
  backlog.add(Date.parse(at), split(totals, { pending }).waiting + (queue?.messages ?? 0));
  traffic.draw();
  backlog.draw();
}

function drawList(now) {
  const isLive = feed.state === "live";
  const mails = state.latest().filter((mail) => controls.filters.wants(mail, now)).slice(0, KEPT);
  const newer = rows.show(mails, { now, operator: isLive && feed.role === "operator", held: isHeld() && !isRearranged });
  isRearranged = false;
  byId("newer").hidden = newer === 0;
  byId("newer").textContent = `${number(newer)} new, show`;
  byId("list").hidden = rows.size === 0;
  byId("empty").hidden = rows.size > 0 || !isLive || !state.resumable;
  const { empty } = controls.filters;
  byId("empty-none").hidden = !empty;
  byId("first").hidden = feed.role !== "operator";
  byId("empty-narrowed").hidden = empty;
  byId("foot").hidden = rows.size === 0 || !state.more;
}

/** While someone reads, or it is not known what happens, nothing may move under their eyes. */
function isHeld() {
  return isPaused || feed.state !== "live" || rows.holdsFocus || isScrolled;
}

function say(text) {
  byId("notice").hidden = !text;
  byId("notice-text").textContent = text;
}

/** Have something done; what comes of it is said by the feed, a refusal here. */
async function order(name, args) {
  try {
    await feed.command(name, args);
    say("");
    return true;
  } catch (error) {
    say(`Not done: ${error.message}.`);
    return false;
  }
}

/** Do what a button of a mail stands for; it stays off until the feed has said what came of it. */
async function act({ target }) {
  const clicked = command(target);
  if (!clicked) return;
  clicked.button.disabled = true;
  const isDone = await order(...clicked.order);
  clicked.button.disabled = isDone;
  // The feed says nothing of a mail that its filter leaves out.
  if (isDone && drawer.id === clicked.button.dataset.id) look(drawer.id);
}

function look(id) {
  history.replaceState(null, "", `${location.pathname}${location.search}#${id}`);
  drawer.look(id, state.mails.get(id));
}

function leave(id) {
  history.replaceState(null, "", location.pathname + location.search);
  rows.focus(id);
}

function narrow(filters) {
  const wanted = filters.forFeed();
  if (JSON.stringify(wanted) !== JSON.stringify(feed.filter)) feed.refilter(wanted);
  else findElsewhere();
  isRearranged = true;
  draw();
}

/** Look in the whole store for what may be the name of a booking or of a mail. */
function findElsewhere() {
  clearTimeout(lookUp);
  state.pin([]);
  const named = controls.filters.lookup();
  if (!named) return;
  lookUp = setTimeout(async () => {
    try {
      const { mails } = await feed.command("mail.list", { filter: { ...feed.filter, ...named }, limit: 100 });
      state.pin(mails);
      isRearranged = true;
      draw();
    } catch (error) {
      if (error.code !== "lost") say(error.message);
    }
  }, LOOK_UP_AFTER);
}

function pause(on) {
  isPaused = on;
  byId("pause").setAttribute("aria-pressed", String(on));
  draw();
}

function showNewer() {
  window.scrollTo(0, 0);
  pause(false);
  isRearranged = true;
}

const KEYS = {
  "/": () => byId("search").focus(),
  j: () => rows.move(1),
  k: () => rows.move(-1),
  p: () => pause(!isPaused),
  "?": () => byId("keys").showModal(),
  Escape: () => (drawer.open ? drawer.close() : document.activeElement.blur()),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input:not([type=checkbox]), select") && event.key !== "Escape";
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || byId("keys").open || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

byId("mails").addEventListener("click", act);
byId("drawer").addEventListener("click", act);

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  feed.token = event.target.elements.token.value;
  sessionStorage.setItem("token", feed.token);
  event.target.reset();
  byId("login").hidden = true;
  feed.open();
});

byId("first").addEventListener("submit", (event) => {
  event.preventDefault();
  const data = { to: event.target.elements.to.value, subject: "Hello from notifier", text: "It works.\n" };
  const id = `${Date.now()}-${Math.random()}`;
  order("submit", { message: { id, source: "/dashboard", type: "notification.requested", data } });
});

byId("theme").addEventListener("change", ({ target }) => {
  localStorage.setItem("theme", target.value);
  document.documentElement.dataset.theme = target.value;
});
byId("sending").addEventListener("click", () => order(state.stats.paused ? "send.resume" : "send.pause"));
byId("pause").addEventListener("click", () => pause(!isPaused));
byId("newer").addEventListener("click", showNewer);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("again").addEventListener("click", () => feed.open());
byId("notice-close").addEventListener("click", () => say(""));
new IntersectionObserver(([{ boundingClientRect: { bottom } }]) => {
  isScrolled = bottom < 0;
  draw();
}).observe(byId("top"));
window.addEventListener("online", () => feed.state === "lost" && feed.open());

byId("theme").value = document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";
setInterval(() => {
  rows.tick(Date.now() + skew);
  draw();
}, 1000);
feed.open();
