// What of the library is listed, and how: a folder, the size of frames, and an order.

import { element } from "./dom.js";
import { choice, option, showFolders } from "./filters.js";

const SIZES = { "": "Any resolution", "2160-": "4K and more", "1080-": "1080 and more", "720-": "720 and more", "0-719": "below 720" };
const ORDERS = {
  "": "Added: first to last",
  "-added": "Added: last to first",
  name: "Name",
  "-date": "File date: newest first",
  date: "File date: oldest first",
  "-length": "Length: longest first",
  length: "Length: shortest first",
};

/** The library's: which of its films are listed, and in which order. */
export class FilmFilters {
  /** @param {function({folder?: string, size?: string, sort?: string}): void} onChange told what was chosen */
  constructor(onChange) {
    const chosen = (name) => () => onChange({ [name]: this[name].value });
    const select = (id, name, texts = {}) =>
      element("select", { id, on: { change: chosen(name) } }, ...Object.entries(texts).map((told) => option(...told)));
    this.folder = select("in-folder", "folder");
    this.size = select("size", "size", SIZES);
    this.sort = select("order", "sort", ORDERS);
    this.elements = [choice("Folder", this.folder), choice("Resolution", this.size), choice("Order", this.sort)];
  }

  /** Shows what is chosen. */
  show({ folder, size, sort }) {
    showFolders(this.folder, folder);
    this.size.value = size in SIZES ? size : "";
    this.sort.value = sort in ORDERS ? sort : "";
    for (const [select, value] of [[this.size, size], [this.sort, sort]]) select.classList.toggle("set", Boolean(value));
  }
}
