// What the address bar holds: view, query, filters. Whoever opens the address sees the same.

const FIELDS = { query: "q", folder: "folder", minLength: "min_length", view: "view", filter: "films", from: "from" };

/** What the address says now. */
export function readAddress() {
  const given = new URLSearchParams(location.search);
  const positive = (name) => Math.max(0, Number(given.get(name)) || 0);
  return {
    view: given.get("view") === "library" ? "library" : "search",
    query: given.get("q") ?? "",
    folder: given.get("folder") ?? "",
    minLength: positive("min_length"),
    filter: given.get("films") ?? "",
    from: Math.floor(positive("from")),
  };
}

/** The address of a state; what is not needed to come back to it is left out. */
export function addressOf(state) {
  const library = state.view === "library";
  const shown = library
    ? { view: "library", filter: state.filter, from: state.from }
    : { query: state.query, folder: state.folder, minLength: state.minLength };
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(shown)) if (value) search.set(FIELDS[name], value);
  return search.size ? `?${search}` : "./";
}

/**
 * Puts a state into the address bar.
 * @param {Object} state
 * @param {boolean} push whether "back" should lead to what was there before
 */
export function writeAddress(state, push) {
  const address = new URL(addressOf(state), document.baseURI);
  if (address.href === location.href) return;
  history[push ? "pushState" : "replaceState"](null, "", address);
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
