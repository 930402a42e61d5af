// What is asked for beside words: a picture, a moment that others are to look like, more sentences about the same film.

import { film, json, query, thumbnail } from "./api.js";
import { WAYS } from "./address.js";
import { element, iconButton } from "./dom.js";
import { clock } from "./format.js";
import { announce } from "./messages.js";

/** @import { SearchView } from "./search.js" */

/** Pixels of the longer side of a picture that is sent, and of the one that is shown. */
const [SENT, SHOWN] = [640, 72];
/** Milliseconds without a key until what is typed is searched for. */
const TYPING = 300;
const NAMES = { then: "and then", also: "and also", without: "but not" };

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** A row below the filters: the picture, and sentences with how they go with the first one. */
export class Asking {
  /** What is sent of a picture; null without one. @type {Blob | null} */
  picture = null;
  #timer = 0;
  #shown = ""; // the moment whose chip is shown

  /** @param {SearchView} view */
  constructor(view) {
    this.view = view;
    this.chip = element("div", { class: "example", hidden: true });
    this.rows = element("div", { class: "rows" });
    this.element = element("section", { class: "asking", "aria-label": "What is asked for beside the words" }, this.chip, this.rows);
  }

  /** Shows what a state asks for. */
  show(state) {
    if (!this.picture && this.#shown !== state.like) this.#showMoment(state.like);
    if (WAYS.some((way) => !same(this.#told()[way], state[way]))) {
      clearTimeout(this.#timer);
      this.rows.replaceChildren(...WAYS.flatMap((way) => state[way].map((text) => this.#row(way, text))));
    }
    this.#showRows();
  }

  /** Takes the first of some files that is a picture. */
  async take(files) {
    const file = [...files].find(({ type }) => type.startsWith("image/"));
    const image = file && (await createImageBitmap(file).catch(() => null));
    if (!image) throw new Error("That is no picture that this browser can read; take a JPEG or PNG.");
    const small = drawn(image, SENT);
    this.picture = await new Promise((resolve) => small.toBlob(resolve, "image/jpeg", 0.9));
    this.#shown = "";
    this.#showChip(drawn(image, SHOWN), file.name);
    this.rows.replaceChildren();
    announce("Searching by the picture.");
    this.view.change({ like: "", ...this.#told() });
  }

  /** Lets another sentence be said. */
  add() {
    const row = this.#row("then", "");
    this.rows.append(row);
    this.#showRows();
    row.querySelector("input").focus();
  }

  /** Forgets the picture. */
  forget() {
    if (!this.picture) return;
    this.picture = null;
    this.chip.hidden = true;
  }

  /** An answer to all that is asked, as `api.search` gives one. */
  found({ query: q, k, skip, moments, where, minLength }, signal) {
    const { like, ...state } = this.view.state;
    const among = { q, k, skip, where, min_length: minLength };
    if (this.picture) {
      return json(`api/like?${query({ ...among, moments })}`, { signal, method: "POST", sent: this.picture });
    }
    const [id, second] = like.split("@");
    if (like) return json(`api/like?${query({ ...among, moments, film: id })}&second=${second}`, { signal });
    const body = { q, k, skip, where: where || null, min_length: minLength || null, strips: true };
    for (const way of WAYS) body[way] = state[way];
    return json("api/compose", { signal, method: "POST", body });
  }

  // What the rows say, by how it goes with the first sentence.
  #told() {
    const said = [...this.rows.children].map((row) => [row.querySelector("select").value, row.querySelector("input").value.trim()]);
    return Object.fromEntries(WAYS.map((way) => [way, said.filter(([own, text]) => own === way && text).map(([, text]) => text)]));
  }

  #row(way, text) {
    const changed = (push) => {
      clearTimeout(this.#timer);
      const told = this.#told();
      if (WAYS.every((one) => same(told[one], this.view.state[one]))) return;
      this.forget();
      this.view.change({ ...told, like: "" }, push);
    };
    const choose = element(
      "select",
      { "aria-label": "How it goes with the first sentence", on: { change: () => changed(true) } },
      ...WAYS.map((value) => element("option", { value, selected: value === way }, NAMES[value])),
    );
    const box = element("input", {
      value: text,
      maxlength: 10000,
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": "Another sentence",
      placeholder: "what is to be seen",
      on: {
        input: () => {
          clearTimeout(this.#timer);
          this.#timer = setTimeout(() => changed(false), TYPING);
        },
        change: () => changed(true),
        keydown: (event) => event.key === "Enter" && changed(true),
      },
    });
    const remove = iconButton("close", "Leave this sentence out", () => {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      this.#showRows();
      (next?.querySelector("input") ?? this.view.compose).focus();
      changed(true);
    });
    const row = element("div", { class: "line" }, choose, box, remove);
    return row;
  }

  #showRows() {
    this.rows.hidden = !this.rows.children.length;
    this.element.hidden = this.rows.hidden && this.chip.hidden;
  }

  async #showMoment(like) {
    this.#shown = like;
    this.chip.hidden = true;
    if (!like) return;
    const [id, second] = like.split("@").map(Number);
    const picture = element("img", { alt: "", src: thumbnail(id, second, SHOWN) });
    this.#showChip(picture, `at ${clock(second)}`);
    const { name } = (await film(id).catch(() => null)) ?? {};
    if (name && this.#shown === like) this.#showChip(picture, `${name} at ${clock(second)}`);
  }

  #showChip(picture, name) {
    const words = element("span", {}, element("b", {}, "More like "), name);
    const remove = iconButton("close", "Search without the picture", () => {
      this.forget();
      this.view.box.focus();
      this.view.change({ like: "" });
    });
    this.chip.replaceChildren(picture, words, remove);
    this.chip.hidden = false;
    this.#showRows();
  }
}

// A picture with its longer side not above some pixels; what shines through is white.
function drawn(image, most) {
  const scale = Math.min(1, most / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = element("canvas", { width, height, "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, width, height);
  return canvas;
}
