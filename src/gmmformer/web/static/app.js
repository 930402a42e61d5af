// The page: which view is shown, what the address says, and whether the server is there.

import { arrived, follow, isAborted, isPassing, library, logout } from "./api.js";
import { leftView, readAddress, writeAddress } from "./address.js";
import { Again, connection } from "./connection.js";
import { element } from "./dom.js";
import { listenToKeys } from "./keys.js";
import { working } from "./messages.js";
import { SearchView } from "./search.js";
import { Tray } from "./tray.js";
import { Viewers, styled } from "./viewers.js";

const HEADINGS = { search: "Search your films", library: "Library", login: "Log in" };

/** @returns {any} */
const at = (id) => document.getElementById(id);
const box = at("query");
const tray = new Tray(at("tray"), at("to-tray"));
const viewer = new Viewers(tray);
tray.viewer = viewer;
/** The views; some are fetched when somebody looks at them. @type {Record<string, any>} */
const views = {
  search: new SearchView(at("search-view"), box, { tray, viewer, openFilm }),
  library: null,
  login: null,
};
const late = {
  library: async () => {
    const [{ LibraryView }] = await Promise.all([import("./library.js"), styled()]);
    return new LibraryView(at("library-view"), { refresh, tray, viewer, openFilm });
  },
  login: async () => {
    const { LoginView } = await import("./login.js");
    return new LoginView(at("login-view"), start);
  },
};
let links = null;
let shown = null;
let intake = null;
let unfollow = null;
const refreshing = new Again(refresh);
const fetching = new Again(showLate);
const opening = new Again(() => openFilm());

function uncover(name) {
  if (shown === name) return;
  views[shown]?.leave?.();
  for (const view of Object.keys(views)) at(`${view}-view`).hidden = view !== name;
  document.body.dataset.view = name;
  at("heading").textContent = HEADINGS[name];
  if (name === "library") at("to-library").setAttribute("aria-current", "page");
  else at("to-library").removeAttribute("aria-current");
  shown = name;
}

function show(name, state = readAddress()) {
  uncover(name);
  if (views[name]) views[name].show(state);
  else showLate();
}

async function showLate() {
  const name = shown;
  try {
    const made = views[name] ?? (await arrived(late[name]()));
    if (!views[name]) {
      views[name] = made;
      takeIntake(intake);
    }
    fetching.done();
    if (shown === name) views[name].show(readAddress());
  } catch (error) {
    if (!isPassing(error)) throw error;
    fetching.wait(error);
  }
}

/** Opens the film that the address says is open large, else the one that is named; else closes what is. */
async function openFilm(name = "") {
  opening.stop();
  if (!links && !name && !readAddress().film) return viewer.leave();
  try {
    const { Links } = await arrived(import("./links.js"));
    opening.done();
    links ??= new Links(tray, viewer);
    return links.follow(name);
  } catch (error) {
    if (!isPassing(error)) throw error;
    return opening.wait(error);
  }
}

/** Asks for what the library holds, and hands it to those who show it. */
async function refresh() {
  try {
    const held = await library();
    views.search.takeLibrary(held);
    views.library?.takeLibrary(held);
    takeActivity(held.activity);
    at("log-out").hidden = !held.locked;
    await tray.takeLibrary(held);
    refreshing.done();
  } catch (error) {
    if (isPassing(error)) refreshing.wait(error);
    else if (!isAborted(error) && shown === "library" && views.library) views.library.status.textContent = error.message;
  }
}

function takeActivity(activity) {
  views.library?.takeActivity(activity);
  at("busy").hidden = !activity;
  at("to-library").title = activity ? "The library is being added to" : "";
}

function takeIntake(state) {
  intake = state;
  if (state) views.library?.intake.take(state);
}

function start() {
  const state = readAddress();
  show(state.view, state);
  if (state.view !== "library") refresh();
  openFilm();
  unfollow?.();
  unfollow = follow({ onLibrary: refresh, onActivity: takeActivity, onIntake: takeIntake });
  if (state.view === "search" && !state.film && matchMedia("(pointer: fine)").matches) box.focus();
}

function go(event) {
  const link = event.target.closest("a[data-view]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0 || shown === "login") return;
  event.preventDefault();
  views.search.settle();
  writeAddress({ view: link.dataset.view }, true);
  show(link.dataset.view);
  scrollTo(0, 0);
  if (link.dataset.view === "search") box.focus();
}

function escape() {
  if (views[shown]?.closePlayer?.()) return true;
  if (tray.open) {
    if (tray.closePlayer()) return true;
    tray.show(false);
    at("to-tray").focus();
    return true;
  }
  return false;
}

/** Ends the session, and forgets what is shown. */
function leave() {
  working(at("log-out"), async () => {
    await logout();
    location.reload();
  });
}

function lose() {
  const knock = element("button", { type: "button", class: "quiet", on: { click: () => connection.knock() } }, "Try now");
  at("gone").replaceChildren("The server does not answer. What is shown stays; trying again. ", knock);
  at("gone").hidden = false;
}

function back() {
  at("gone").hidden = true;
  refresh();
}

/** Searches by a picture that is dropped on the page, or pasted; what is pasted as text stays text. */
function takePicture(event) {
  const given = event.dataTransfer ?? event.clipboardData;
  delete document.body.dataset.drop;
  if (shown !== "search" || !given?.types.includes("Files") || given.types.includes("text/plain")) return;
  if (document.querySelector("dialog[open]")) return;
  event.preventDefault();
  if (event.type === "dragover") document.body.dataset.drop = "";
  else views.search.take(given.files, at("picture"));
}

connection.addEventListener("login", () => {
  unfollow?.();
  unfollow = null;
  if (shown !== "login") show("login");
});
connection.addEventListener("lost", lose);
connection.addEventListener("back", back);
views.search.onReturn = () => uncover("search");

addEventListener("popstate", () => {
  if (shown === "login") return;
  if (leftView()) show(readAddress().view);
  openFilm();
});
document.addEventListener("click", go);
for (const what of ["dragover", "drop", "paste"]) addEventListener(what, takePicture);
addEventListener("dragleave", () => delete document.body.dataset.drop);
at("picture").addEventListener("click", () => {
  const files = element("input", { type: "file", accept: "image/*" });
  files.addEventListener("change", () => views.search.take(files.files, at("picture")));
  files.click();
});
at("log-out").addEventListener("click", leave);
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  views.search.settle();
  if (shown === "search") views.search.run();
});
listenToKeys({
  box,
  cards: () => views[shown]?.cards ?? [],
  escape,
  toBox: () => {
    box.focus();
    box.select();
  },
});
start();
