// What a moment is trimmed with, besides the handles: buttons for frames and shots, and numbers that can be typed.

import { jump, mark, step } from "./controls.js";
import { element, icon, iconButton } from "./dom.js";
import { fine, parsed } from "./format.js";

/** @import { Screen } from "./screen.js" */
/** @import { Lens } from "./lens.js" */

/** Buttons and fields below the enlarged strip. */
export class Trim {
  #moved = () => this.#show();

  /** @param {Screen} screen  @param {Lens} lens */
  constructor(screen, lens) {
    this.screen = screen;
    this.lens = lens;
    this.moment = screen.moment;
    this.start = this.#field("trim-start", (second) => this.moment.begin(second));
    this.end = this.#field("trim-end", (second) => this.moment.finish(second));
    this.length = element("span", {});
    this.reset = element(
      "button",
      { type: "button", class: "quiet", on: { click: () => this.#reset() } },
      "As it was found",
    );
    /** How long the moment is, and the way back to what was found. */
    this.span = element("p", { class: "span" }, this.reset, this.length);
    this.element = element(
      "div",
      { class: "trim" },
      this.#transport(),
      this.#end("Start", "trim-start", this.start, "i", "begin"),
      this.#end("End", "trim-end", this.end, "o", "finish"),
    );
    this.use(screen.moment);
  }

  /** Trims another moment of the film. */
  use(moment) {
    this.drop();
    this.moment = moment;
    moment.addEventListener("change", this.#moved);
    this.#show();
  }

  /** Ends it: the moment is listened to no more. */
  drop() {
    this.moment.removeEventListener("change", this.#moved);
  }

  #transport() {
    const { screen, lens } = this;
    const zoom = (closer) => lens.zoom(closer, screen.open ? screen.time : undefined);
    return element(
      "div",
      { class: "transport", role: "group", "aria-label": "Move in the film" },
      iconButton("shotBack", "To the shot before ([)", () => jump(screen, false)),
      iconButton("frameBack", "A frame back (,)", () => step(screen, -1)),
      iconButton("play", "Play the moment", () => screen.playFrom(this.moment.start)),
      iconButton("frameOn", "A frame on (.)", () => step(screen, 1)),
      iconButton("shotOn", "To the next shot (])", () => jump(screen, true)),
      element("i", { class: "gap" }),
      iconButton("out", "Show more of the film", () => zoom(false)),
      iconButton("in", "Show less, but larger", () => zoom(true)),
      iconButton("fit", "Show the moment", () => lens.fit()),
    );
  }

  #field(id, onChange) {
    return element("input", {
      id,
      inputmode: "decimal",
      autocomplete: "off",
      spellcheck: "false",
      title: "Seconds, or minutes:seconds",
      on: {
        change: (event) => {
          const second = parsed(event.target.value);
          if (second !== null) onChange(second);
          this.#show();
          this.lens.fit();
        },
        focus: (event) => event.target.select(),
      },
    });
  }

  #end(label, id, field, key, which) {
    const here = element(
      "button",
      { type: "button", class: "small", "aria-keyshortcuts": key, on: { click: () => mark(this.screen, which) } },
      icon(which === "begin" ? "markStart" : "markEnd"),
      "here",
      element("kbd", { "aria-hidden": "true", data: { key } }),
    );
    here.setAttribute("aria-label", `${label} here, at the frame on screen`);
    return element("div", { class: "end" }, element("label", { for: id }, label), field, here);
  }

  #reset() {
    this.moment.reset();
    this.lens.fit();
    this.start.focus();
  }

  #show() {
    const { start, end, length, changed } = this.moment;
    this.start.value = fine(start);
    this.end.value = fine(end);
    this.length.textContent = `${length.toFixed(2)} s`;
    this.reset.hidden = !changed;
  }
}
