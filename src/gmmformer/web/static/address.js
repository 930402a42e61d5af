// What the address bar holds: view, query, what is asked for beside it, filters, how many results, what plays. Whoever opens the address sees the same.

const FIELDS = {
  query: "q",
  like: "like",
  folder: "folder",
  minLength: "min_length",
  within: "in",
  results: "results",
  view: "view",
  filter: "films",
  from: "from",
  size: "size",
  sort: "sort",
  play: "play",
  film: "film",
  second: "t",
};
/** What can be looked in, as people read it. */
export const SOURCES = { picture: "Picture", said: "Said", written: "On screen", name: "Name" };
/** How more sentences go with the first one; each is a list in the address. */
export const WAYS = ["then", "also", "without"];
const OF_VIEWS = {
  search: ["query", "like", "folder", "minLength", "within", "results", "play"],
  library: ["view", "filter", "folder", "size", "sort", "from", "play"],
};
const SPOT = /^([1-9]\d{0,15}):(\d{1,8}(?:\.\d{1,9})?):(\d{1,8}(?:\.\d{1,9})?)$/;
let told = location.search;

/** What the address says now; `play` is what plays in its place, `film` what is open large, from `second` on. */
export function readAddress(search = location.search) {
  const given = new URLSearchParams(search);
  const positive = (name) => Math.max(0, Number(given.get(name)) || 0);
  const spot = (name) => (spotOf(given.get(name)) ? given.get(name) : "");
  return {
    view: given.get("view") === "library" ? "library" : "search",
    query: given.get("q") ?? "",
    like: /^[1-9]\d{0,15}@\d{1,8}(\.\d{1,9})?$/.test(given.get("like")) ? given.get("like") : "",
    ...Object.fromEntries(WAYS.map((way) => [way, given.getAll(way).filter((text) => text.trim())])),
    folder: given.get("folder") ?? "",
    minLength: positive("min_length"),
    within: (given.get("in") ?? "").split(",").filter((source) => source in SOURCES).join(),
    results: Math.floor(positive("results")),
    filter: given.get("films") ?? "",
    size: given.get("size") ?? "",
    sort: given.get("sort") ?? "",
    from: Math.floor(positive("from")),
    play: spot("play"),
    film: spot("film"),
    second: positive("t"),
  };
}

/** The address of a state; what is not needed to come back to it is left out. */
export function addressOf(state) {
  const search = new URLSearchParams();
  const names = [...OF_VIEWS[state.view], ...(state.film ? ["film", "second"] : [])];
  for (const name of names) if (state[name]) search.set(FIELDS[name], state[name]);
  if (state.view === "search") for (const way of WAYS) for (const text of state[way]) search.append(way, text);
  return search.size ? `?${search}` : "./";
}

/**
 * Puts a state into the address bar; a film that is open large stays there, unless `push`.
 * @param {Object} state
 * @param {boolean} push whether "back" should lead to what was there before
 */
export function writeAddress(state, push) {
  const { film, second } = readAddress();
  write({ ...state, ...(push ? { film: "" } : { film, second }) }, push);
}

/** Says which film is open large, in an entry of the history of its own, so that "back" closes it; null: none is. */
export function writeFilm(spot) {
  const before = readAddress();
  if (spot) write({ ...before, film: spot, second: 0 }, !before.film, { entered: true });
  else if (before.film && history.state?.entered) history.back();
  else write({ ...before, film: "" }, false);
}

function write(state, push, mark = null) {
  const address = new URL(addressOf(state), document.baseURI);
  told = address.search;
  if (address.href === location.href) return;
  if (push) history.pushState(mark, "", address);
  else history.replaceState(history.state, "", address);
}

/** Whether going back or on in the history led to another view, or another state of it, and not only to another film. */
export function leftView() {
  const rest = (search) => addressOf({ ...readAddress(search), film: "" });
  const before = rest(told);
  told = location.search;
  return before !== rest(told);
}

/** The moment of a film that part of an address names, as it names it: "12:3.5:8.25". */
export function spotFor({ id }, { start, end }) {
  const short = (seconds) => Number(seconds.toFixed(3));
  return `${id}:${short(start)}:${short(end)}`;
}

/** What such a name says; null if it is none. */
export function spotOf(name) {
  const [, id, start, end] = (SPOT.exec(name ?? "") ?? []).map(Number);
  return end > start ? { id, start, end } : null;
}

/** The glob of the paths below a folder. Its own stars and brackets stand for themselves. */
export function globOf(folder) {
  return folder
    ? `${folder
        .replace(/[*?[]/g, "[$&]")
        .replace(/(\\x[0-9a-f]{2}|\\udc[0-9a-f]{2}|\uFFFD)+/g, "*")
        .replace(/\/$/, "")}/*`
    : "";
}
