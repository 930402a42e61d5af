// The filters of a search: a folder, and the least length of a film.

import { element } from "./dom.js";
import { shortFolder } from "./folders.js";
import { duration } from "./format.js";

/** Seconds to choose from; an address may hold others. */
const LENGTHS = [0, 30, 60, 300, 600, 1800, 3600];

/** Two lists to choose from, and what clears both. */
export class Filters {
  /** Folders of the library. */
  folders = [];

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
    const folders = [...new Set([...this.folders, ...(folder ? [folder] : [])])].sort();
    this.folder.replaceChildren(option("", "All folders"), ...folders.map((name) => option(name, shortFolder(name))));
    const lengths = [...new Set([...LENGTHS, minLength])].sort((a, b) => a - b);
    this.length.replaceChildren(
      ...lengths.map((seconds) => option(seconds, seconds ? `at least ${duration(seconds)}` : "Any length")),
    );
    this.folder.value = folder;
    this.length.value = String(minLength);
    this.folder.classList.toggle("set", Boolean(folder));
    this.length.classList.toggle("set", Boolean(minLength));
    this.clear.hidden = !folder && !minLength;
  }
}

function option(value, text) {
  return element("option", { value }, text);
}

function choice(label, select) {
  return element("div", { class: "choice" }, element("label", { for: select.id }, label), select);
}
