// The tray: moments that a person has picked, kept in the browser until they are exported or thrown away.

import * as api from "./api.js";
import { element, iconButton } from "./dom.js";
import { ExportForm } from "./export_form.js";
import { plural, span } from "./format.js";
import { announce, save, tell, working } from "./messages.js";
import { Moment, momentKey } from "./moment.js";

const STORED = "gmmformer.tray";

/** Picked moments. The event "change" says that there are others. */
export class Tray extends EventTarget {
  #items = new Map();

  /** @param {HTMLElement} panel  @param {HTMLButtonElement} opener */
  constructor(panel, opener) {
    super();
    Object.assign(this, { panel, opener });
    this.list = element("ol", {});
    this.empty = element(
      "p",
      { class: "note" },
      "Nothing picked yet. “Tray” below a result puts its moment here; from here all go to an editing program.",
    );
    this.panel.append(...this.#parts());
    this.opener.addEventListener("click", () => this.show(this.panel.hidden));
    addEventListener("storage", (event) => event.key === STORED && this.#load());
    this.#load();
  }

  get open() {
    return !this.panel.hidden;
  }

  has(key) {
    return this.#items.has(key);
  }

  /** Puts a moment in, or takes it out. */
  toggle(moment) {
    if (this.has(moment.key)) return this.remove(moment.key);
    this.#items.set(moment.key, moment.item);
    this.#changed();
    return announce(`Picked; ${plural(this.#items.size, "moment")} in the tray.`);
  }

  /** A moment of a film as the tray has it, if it does; and the tray has it as it is changed. */
  moment(film, span) {
    const moment = new Moment(film, span);
    const kept = this.#items.get(moment.key);
    if (kept) moment.set(kept.start, kept.end);
    moment.addEventListener("change", () => {
      const item = this.#items.get(moment.key);
      if (!item) return;
      this.#items.set(moment.key, { ...item, ...moment.item });
      this.#changed();
    });
    return moment;
  }

  remove(key) {
    this.#items.delete(key);
    this.#changed();
    announce(`Taken out; ${plural(this.#items.size, "moment")} in the tray.`);
  }

  show(open) {
    this.panel.hidden = !open;
    document.body.classList.toggle("with-tray", open);
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) this.#forgetStrangers();
  }

  #parts() {
    const close = iconButton("close", "Close the tray", () => {
      this.show(false);
      this.opener.focus();
    });
    this.form = new ExportForm((button) => this.#export(button));
    this.clear = element(
      "button",
      { type: "button", class: "quiet", on: { click: () => this.#clear() } },
      "Empty the tray",
    );
    this.foot = element("div", { class: "tray-foot" }, this.form.element, this.clear);
    return [
      element("header", {}, element("h2", { id: "tray-title" }, "Tray"), close),
      this.empty,
      this.list,
      this.foot,
    ];
  }

  #load() {
    try {
      const stored = JSON.parse(localStorage.getItem(STORED) ?? "[]");
      this.#items = new Map(
        stored
          .filter((item) => Number.isInteger(item.id) && item.end > item.start)
          .map((item) => [momentKey({ id: item.id, ...(item.found ?? item) }), item]),
      );
    } catch {
      this.#items = new Map();
    }
    this.#show();
  }

  #changed() {
    try {
      localStorage.setItem(STORED, JSON.stringify([...this.#items.values()]));
    } catch {
      // A browser that keeps nothing keeps the tray as long as the page.
    }
    this.#show();
  }

  #show() {
    const count = this.#items.size;
    this.list.replaceChildren(...[...this.#items].map(([key, item]) => this.#row(key, item)));
    this.empty.hidden = count > 0;
    this.foot.hidden = this.list.hidden = count === 0;
    document.getElementById("picked").textContent = count;
    this.opener.setAttribute("aria-label", `Tray, ${plural(count, "moment")}`);
    this.opener.classList.toggle("filled", count > 0);
    this.dispatchEvent(new Event("change"));
  }

  #row(key, item) {
    const { id, name, start, end, query, poster } = item;
    const image = element("img", {
      alt: "",
      loading: "lazy",
      decoding: "async",
      src: api.thumbnail(id, poster ?? start, 120),
    });
    image.addEventListener("error", () => image.remove());
    const cut = iconButton("download", `Save this moment of ${name} as mp4`, () =>
      working(cut, async () => save(await api.cut(item))),
    );
    const remove = iconButton("close", `Take ${name}, ${span(start, end)} out of the tray`, () => this.#removeRow(key));
    const texts = element(
      "div",
      {},
      element("p", { class: "times" }, span(start, end)),
      element("p", { class: "name", title: item.film }, name),
      query ? element("p", { class: "asked", title: query }, query) : null,
    );
    return element("li", {}, element("span", { class: "thumb" }, image), texts, cut, remove);
  }

  #removeRow(key) {
    const index = [...this.#items.keys()].indexOf(key);
    this.remove(key);
    const rows = this.list.querySelectorAll("li");
    const next = rows[Math.min(index, rows.length - 1)];
    (next?.querySelector("button:last-of-type") ?? this.panel.querySelector("header button")).focus();
  }

  #export(button) {
    const moments = [...this.#items.values()].map(({ id, start, end, query, title, note }) => ({
      id,
      start,
      end,
      query: query ?? "",
      name: title ?? "",
      note: note ?? "",
    }));
    working(button, async () => {
      const file = await api.exported(moments, this.form.format.value, this.form.wanted);
      save(file);
      tell(`Saved ${plural(moments.length, "moment")} as ${file.name}.`);
    });
  }

  #clear() {
    const before = new Map(this.#items);
    this.#items.clear();
    this.#changed();
    tell(`Took ${plural(before.size, "moment")} out of the tray.`);
    this.panel.querySelector("header button").focus();
  }

  // Ids belong to a library: a tray that was filled from another one, or a film that was replaced, leads to nothing.
  async #forgetStrangers() {
    const ids = new Set([...this.#items.values()].map((item) => item.id));
    for (const id of ids) {
      let film;
      try {
        film = await api.film(id);
      } catch {
        return;
      }
      const strangers = [...this.#items].filter(([, item]) => item.id === id && item.film !== film?.film);
      for (const [key] of strangers) this.#items.delete(key);
      if (strangers.length) {
        tell(`${strangers[0][1].name} is no longer in this library; it was taken out of the tray.`);
        this.#changed();
      }
    }
  }
}
