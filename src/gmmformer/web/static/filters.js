// The filters of a search: what is looked in, a folder, and the least length of a film.

import { SOURCES } from "./address.js";
import { element, setAttributes } from "./dom.js";
import { folderChoices, shortFolder } from "./folders.js";
import { duration } from "./format.js";

/** Seconds to choose from; an address may hold others. */
const LENGTHS = [0, 30, 60, 300, 600, 1800, 3600];

/** What is looked in, two lists to choose from, and what clears all. */
export class Filters {
  #sources = new Map(); // the buttons of what can be looked in
  within = [];

  /** @param {function({folder?: string, minLength?: number, within?: string}): void} onChange told what was chosen */
  constructor(onChange) {
    this.onChange = onChange;
    this.folder = element("select", { id: "folder", on: { change: () => onChange({ folder: this.folder.value }) } });
    this.length = element("select", {
      id: "length",
      on: { change: () => onChange({ minLength: Number(this.length.value) }) },
    });
    this.sources = element("div", { class: "sources", role: "group", "aria-label": "Look in", hidden: true });
    this.clear = element(
      "button",
      { type: "button", class: "quiet", hidden: true, on: { click: () => this.remove() } },
      "Remove filters",
    );
    this.element = element(
      "div",
      { class: "filters" },
      this.sources,
      choice("Folder", this.folder),
      choice("Film length", this.length),
      this.clear,
    );
  }

  /** Chooses nothing. */
  remove() {
    this.onChange({ folder: "", minLength: 0, within: "" });
  }

  /** Takes what there is to look in: without words of films there is nothing to choose. */
  takeSources(sources) {
    if (String([...this.#sources.keys()]) === String(sources)) return;
    this.#sources = new Map(sources.map((source) => [source, this.#source(source)]));
    this.sources.replaceChildren(element("span", { class: "soft" }, "Look in"), ...this.#sources.values());
    this.sources.hidden = sources.length < 3;
    this.#showSources();
  }

  #source(source) {
    return element("button", { type: "button", class: "chip", on: { click: () => this.#choose(source) } }, SOURCES[source]);
  }

  // None chosen: all of it is looked in.
  #choose(source) {
    const chosen = new Set(this.within);
    if (!chosen.delete(source)) chosen.add(source);
    const within = [...this.#sources.keys()].filter((one) => chosen.has(one));
    this.onChange({ within: within.length < this.#sources.size ? within.join() : "" });
  }

  #showSources() {
    for (const [source, button] of this.#sources) setAttributes(button, { "aria-pressed": String(this.within.includes(source)) });
  }

  /** Shows what is chosen. */
  show({ folder, minLength, within }) {
    this.within = within ? within.split(",") : [];
    this.#showSources();
    showFolders(this.folder, folder);
    const lengths = [...new Set([...LENGTHS, minLength])].sort((a, b) => a - b);
    this.length.replaceChildren(
      ...lengths.map((seconds) => option(seconds, seconds ? `at least ${duration(seconds)}` : "Any length")),
    );
    this.length.value = String(minLength);
    this.length.classList.toggle("set", Boolean(minLength));
    this.clear.hidden = !folder && !minLength && !within;
  }
}

/** Lets a folder be chosen, those above others too. */
export function showFolders(select, chosen) {
  const folders = ["", ...new Set([...folderChoices(), ...(chosen ? [chosen] : [])].sort())];
  const texts = folders.map((name) => (name ? shortFolder(name) : "All folders"));
  if (String([...select.options].map((one) => one.text)) !== String(texts)) // a list that is open would close
    select.replaceChildren(...folders.map((name, place) => option(name, texts[place])));
  select.value = chosen;
  select.classList.toggle("set", Boolean(chosen));
}

/** Something to choose. */
export function option(value, text) {
  return element("option", { value }, text);
}

/** A list to choose from, with its name. */
export function choice(label, select) {
  return element("div", { class: "choice" }, element("label", { for: select.id }, label), select);
}
