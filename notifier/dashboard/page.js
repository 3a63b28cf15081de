// Wires the page together: frames of the feed become rows, counts and charts; input becomes filters and commands.

import { clicked } from "./buttons.js";
import { Chart } from "./chart.js";
import { Controls } from "./controls.js";
import { pending } from "./counts.js";
import { byId } from "./dom.js";
import { Drawer } from "./drawer.js";
import { CommandError, Feed } from "./feed.js";
import { Login, onTestMail } from "./forms.js";
import { Health } from "./health.js";
import { listen } from "./keyboard.js";
import { List } from "./list.js";
import { Lookup } from "./lookup.js";
import { ServiceClock } from "./service_clock.js";
import { State } from "./state.js";
import { Tiles } from "./tiles.js";

const KEPT = 500; // mails
const RELOADED = "The list has been reloaded, because the changes in the meantime are no longer in the event log.";

const feedUrl = new URL("feed", location.origin + location.pathname);
feedUrl.protocol = feedUrl.protocol.replace("http", "ws");

const state = new State(KEPT);
const clock = new ServiceClock();
const controls = new Controls({ onNarrow: narrow, now: () => clock.now() });
const feed = new Feed(feedUrl, {
  snapshot: KEPT,
  stats: 1,
  token: Login.token(),
  filter: controls.filters.forFeed(),
  onFrame: receive,
  onChange: connectionChanged,
});
const health = new Health(feed, state);
const list = new List({ onOpen: openMail, onChange: draw });
const tiles = new Tiles(byId("tiles"), { onChoose: (name) => controls.choose(name) });
const drawer = new Drawer(byId("drawer"), {
  load: (id) => feed.command("mail.show", { id, preview: true }),
  onClose: leave,
});
const login = new Login({
  onToken: (token) => {
    feed.token = token;
    feed.open();
  },
});
const lookup = new Lookup({
  list: (filter, limit) => feed.command("mail.list", { filter: { ...feed.filter, ...filter }, limit }),
  onFound: ({ mails }) => {
    state.pin(mails);
    list.replace();
  },
  onError: (error) => {
    if (error.code !== "lost") notify(error.message);
  },
});
const traffic = new Chart(byId("charts"), "Mails per second", ["received", "sent"]);
const backlog = new Chart(byId("charts"), "Backlog", ["waiting"]);
let isDrawing = false;

/** @param {import("./frames.js").ServerFrame} frame */
function receive(frame) {
  const { reloads } = state;
  const changed = state.apply(frame, feed.filter);
  if (state.reloads > reloads) notify(RELOADED);
  if (frame.type === "welcome") setClock(frame.now);
  if (frame.type === "stats") drawCharts(frame);
  if (frame.type === "snapshot") {
    lookUp();
    list.replace();
  }
  if (drawer.id !== null && changed.includes(drawer.id)) drawer.show(drawer.id, state.mails.get(drawer.id));
  draw();
}

/**
 * Set the clock to the service's time. If that makes a difference, a chosen span of time begins somewhere else.
 * @param {string} now
 */
function setClock(now) {
  const isElsewhere = clock.set(now);
  if (isElsewhere && controls.filters.since) controls.narrow({ since: controls.filters.since });
}

function connectionChanged() {
  if (feed.state === "refused" && feed.code === 4401) {
    login.open(feed.token ? "This token is not valid." : "");
  }
  if (feed.state === "live") {
    login.close();
    if (drawer.id !== null) openMail(drawer.id); // it may have changed, or could not be loaded before
    else if (location.hash) openMail(location.hash.slice(1));
  }
  draw();
}

/** Draw once before the next repaint, however often this is called until then. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    const now = clock.now();
    const { filters } = controls;
    health.draw();
    tiles.draw(state, controls.only, now);
    list.draw({
      mails: state.latest().filter((mail) => filters.wants(mail, now)).slice(0, KEPT),
      now,
      isLive: feed.state === "live",
      isOperator: feed.role === "operator",
      isLoaded: state.resumable,
      isNarrowed: !filters.empty,
      hasMore: state.more,
    });
  });
}

/** @param {import("./frames.js").Stats} stats */
function drawCharts(stats) {
  const { at, rates, queue, totals } = stats;
  traffic.add(Date.parse(at), rates.received, rates.sent);
  backlog.add(Date.parse(at), pending(totals, stats).waiting + (queue?.messages ?? 0));
}

/** @param {string} text shown until the reader dismisses it; "" hides the notice */
function notify(text) {
  byId("notice").hidden = !text;
  byId("notice-text").textContent = text;
}

/**
 * Run a command. Its effect comes through the feed; a refusal is shown here. Return whether it was done.
 * @param {import("./actions.js").Command} command
 */
async function run([name, args]) {
  try {
    await feed.command(name, args);
    notify("");
    return true;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    notify(`The command failed: ${error.message}.`);
    return false;
  }
}

/**
 * Run the command of a mail's button, which stays disabled until the feed has shown the effect.
 * @param {Event} event
 */
async function act(event) {
  const found = clicked(event);
  if (!found) return;
  found.button.disabled = true;
  const isDone = await run(found.command);
  found.button.disabled = isDone;
  // The feed does not mention a mail that its filter leaves out.
  if (isDone && drawer.id === found.id) openMail(found.id);
}

/** @param {string} id of a mail */
function openMail(id) {
  history.replaceState(null, "", `${location.pathname}${location.search}#${id}`);
  drawer.show(id, state.mails.get(id));
}

/** @param {string} id of the mail that was open */
function leave(id) {
  history.replaceState(null, "", location.pathname + location.search);
  list.rows.focus(id);
}

/** @param {import("./filters.js").Filters} filters */
function narrow(filters) {
  const wanted = filters.forFeed();
  if (JSON.stringify(wanted) !== JSON.stringify(feed.filter)) feed.refilter(wanted);
  else lookUp();
  list.replace();
}

function lookUp() {
  state.pin([]);
  lookup.start(controls.filters.lookup());
}

function closeOrBlur() {
  if (drawer.isOpen) drawer.close();
  else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
}

/** @param {string} name */
function setTheme(name) {
  byId("theme", HTMLSelectElement).value = name;
  document.documentElement.dataset.theme = name;
}

listen({
  "/": () => byId("search").focus(),
  j: () => list.rows.move(1),
  k: () => list.rows.move(-1),
  p: () => list.pause(!list.isPaused),
  Escape: closeOrBlur,
});
onTestMail((to) => {
  const data = { to, subject: "Hello from notifier", text: "It works.\n" };
  const id = `${Date.now()}-${Math.random()}`;
  run(["submit", { message: { id, source: "/dashboard", type: "notification.requested", data } }]);
});
byId("mails").addEventListener("click", act);
byId("drawer").addEventListener("click", act);
byId("theme").addEventListener("change", () => {
  const { value } = byId("theme", HTMLSelectElement);
  localStorage.setItem("theme", value);
  setTheme(value);
});
byId("sending").addEventListener("click", () => run([state.stats?.paused ? "send.resume" : "send.pause", {}]));
byId("again").addEventListener("click", () => feed.open());
byId("notice-close").addEventListener("click", () => notify(""));
window.addEventListener("online", () => feed.state === "lost" && feed.open());

setTheme(localStorage.getItem("theme") ?? "auto");
setInterval(() => {
  list.rows.tick(clock.now());
  draw();
}, 1000);
feed.open();
