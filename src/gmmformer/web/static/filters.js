// The filters of a search: a folder, and the least length of a film.

import { element } from "./dom.js";
import { folderChoices, shortFolder } from "./folders.js";
import { duration } from "./format.js";

/** Seconds to choose from; an address may hold others. */
const LENGTHS = [0, 30, 60, 300, 600, 1800, 3600];

/** Two lists to choose from, and what clears both. */
export class Filters {
  /** @param {function({folder?: string, minLength?: number}): void} onChange told what was chosen */
  constructor(onChange) {
    this.onChange = onChange;
    this.folder = element("select", { id: "folder", on: { change: () => onChange({ folder: this.folder.value }) } });
    this.length = element("select", {
      id: "length",
      on: { change: () => onChange({ minLength: Number(this.length.value) }) },
    });
    this.clear = element(
      "button",
      { type: "button", class: "quiet", hidden: true, on: { click: () => this.remove() } },
      "Remove filters",
    );
    this.element = element(
      "div",
      { class: "filters" },
      choice("Folder", this.folder),
      choice("Film length", this.length),
      this.clear,
    );
  }

  /** Chooses nothing. */
  remove() {
    this.onChange({ folder: "", minLength: 0 });
  }

  /** Shows what is chosen. */
  show({ folder, minLength }) {
    showFolders(this.folder, folder);
    const lengths = [...new Set([...LENGTHS, minLength])].sort((a, b) => a - b);
    this.length.replaceChildren(
      ...lengths.map((seconds) => option(seconds, seconds ? `at least ${duration(seconds)}` : "Any length")),
    );
    this.length.value = String(minLength);
    this.length.classList.toggle("set", Boolean(minLength));
    this.clear.hidden = !folder && !minLength;
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
