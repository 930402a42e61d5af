// One moment in the tray: it is moved by its grip, and unfolds to play in place, to be named and to have a note.

import { thumbnail } from "./api.js";
import { cutButton, trimButton } from "./actions.js";
import { playerKey } from "./controls.js";
import { element, icon, iconButton, setAttributes } from "./dom.js";
import { span } from "./format.js";
import { frameImage } from "./images.js";
import { working } from "./messages.js";
import { Roving } from "./roving.js";
import { Screen } from "./screen.js";

/** @import { Viewers } from "./viewers.js" */
/** @import { Moment } from "./moment.js" */

/** A row of the tray. */
export class TrayRow {
  /**
   * @param {string} key of its moment
   * @param {{film: function(number): Promise<Object>, moment: function(Object, Object): Moment, onMove: function(number): void,
   *     onDrag: function(PointerEvent): void, onRemove: function(): void, onChange: function(Object, string): void, onOpen: function(): void,
   *     viewer: function(): Viewers}} tray what it asks of the tray
   */
  constructor(key, tray) {
    this.key = key;
    this.tray = tray;
    this.screen = null;
    this.image = frameImage({ loading: "lazy" }, () => this.image.removeAttribute("src"));
    this.grip = element(
      "button",
      {
        type: "button",
        class: "icon grip",
        on: { pointerdown: (event) => tray.onDrag(event), keydown: (event) => this.#key(event) },
      },
      icon("grip"),
    );
    this.thumb = element("button", { type: "button", class: "thumb", "aria-expanded": "false" }, this.image, icon("play"));
    this.thumb.addEventListener("click", () => (this.details.hidden ? working(this.thumb, () => this.unfold()) : this.fold()));
    this.times = element("p", { class: "times" });
    this.name = element("p", { class: "name" });
    this.asked = element("p", { class: "asked" });
    this.remove = iconButton("close", "Take out of the tray", () => tray.onRemove(), "remove");
    this.details = element("div", { class: "details", hidden: true });
    const texts = element("div", {}, this.times, this.name, this.asked);
    this.element = element("li", {}, this.grip, this.thumb, texts, this.details, this.remove);
    new Roving(this.element, "li > button", ".thumb");
  }

  /** Shows what the tray has of the moment now; `gone`: why its film cannot be had any more. */
  update(item, gone) {
    const { id, film, name, title, note, start, end, query, poster } = item;
    this.item = item;
    const shown = title || name;
    this.times.textContent = span(start, end);
    this.name.textContent = shown;
    this.name.title = film;
    this.asked.textContent = gone || note || query;
    this.asked.title = this.asked.textContent;
    this.element.classList.toggle("gone", Boolean(gone));
    const address = thumbnail(id, poster ?? start, 120);
    if (!gone && this.image.getAttribute("src") !== address) this.image.src = address;
    setAttributes(this.thumb, { "aria-label": `Play ${shown}, ${span(start, end)}, and say more of it`, disabled: Boolean(gone) });
    setAttributes(this.remove, { "aria-label": `Take ${shown}, ${span(start, end)} out of the tray` });
    setAttributes(this.grip, {
      "aria-label": `Move ${shown}, ${span(start, end)}: arrows up and down`,
      title: "Drag, or move it by arrows",
    });
    if (gone) this.fold();
    for (const field of this.details.querySelectorAll("input"))
      if (document.activeElement !== field) field.value = item[field.name] ?? "";
  }

  /** Shows the film in place, and fields for a name and a note. */
  async unfold() {
    const film = await this.tray.film(this.item.id);
    if (!film || !this.details.hidden) return;
    this.tray.onOpen();
    const { start, end, found, poster, query } = this.item;
    const moment = this.tray.moment(film, { start, end, found, poster, query });
    this.screen = new Screen(film, moment);
    const key = (event) => playerKey(event, this.screen) && event.preventDefault();
    const trim = trimButton(film.name, async () => {
      await this.tray.viewer().fetch();
      this.fold();
      this.tray.viewer().open(film, moment, { onClose: () => this.thumb.focus() });
    });
    this.details.replaceChildren(
      element("div", { on: { keydown: key } }, this.screen.element),
      this.#field("title", "Name", 200, this.item.name),
      this.#field("note", "Note", 2000),
      element("div", { class: "line" }, trim, cutButton(film, () => moment)),
    );
    this.details.hidden = false;
    this.thumb.setAttribute("aria-expanded", "true");
    this.screen.playFrom(moment.start);
  }

  /** Shows the row alone; whether it was unfolded. */
  fold() {
    if (this.details.hidden) return false;
    this.screen.drop();
    this.details.hidden = true;
    this.details.replaceChildren();
    this.thumb.setAttribute("aria-expanded", "false");
    return true;
  }

  #field(name, label, maxlength, placeholder = "") {
    const id = `${name}-${this.key}`;
    const field = element("input", { id, name, placeholder, maxlength, autocomplete: "off", value: this.item[name] });
    field.addEventListener("change", () =>
      this.tray.onChange({ [name]: field.value.trim() }, name === "note" ? "the note" : "the name"),
    );
    return element("div", { class: "field" }, element("label", { for: id }, label), field);
  }

  #key(event) {
    const by = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.tray.onMove(by);
  }
}
