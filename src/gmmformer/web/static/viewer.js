// The viewer: a film, large, with the strip of all of it, a part enlarged, and what a moment is trimmed with.

import { element, icon, iconButton } from "./dom.js";
import { shortFolder } from "./folders.js";
import { Lens } from "./lens.js";
import { playerKey } from "./controls.js";
import { Screen } from "./screen.js";
import { Strip } from "./strip.js";
import { Trim } from "./trim.js";

/** Shows one film at a time, above the page. */
export class Viewer {
  constructor() {
    this.dialog = element("dialog", {
      class: "viewer",
      "aria-labelledby": "viewer-title",
      on: {
        close: () => this.#closed(),
        click: (event) => event.target === this.dialog && this.dialog.close(),
        keydown: (event) => this.#key(event),
      },
    });
    document.body.append(this.dialog);
  }

  /**
   * Opens on a moment, which changes as it is trimmed.
   * @param {Object} film as the server describes it
   * @param {Moment} moment
   * @param {{drawn?: {strip: Object, scale: Object}, actions?: Node[], onClose?: function()}} more its scores, if they are
   *     known, buttons to stand below it, and what to do afterwards
   */
  open(film, moment, { drawn = null, actions = [], onClose = () => {} } = {}) {
    this.onClose = onClose;
    this.strip = new Strip(film, moment, (second) => this.screen.playFrom(second));
    this.screen = new Screen(film, moment, {
      onTime: (second) => {
        this.strip.showPlaying(second);
        this.lens.showPlaying(second);
      },
    });
    this.lens = new Lens(film, moment, {
      onShow: (second) => this.screen.show(second),
      onSeek: (second) => this.screen.playFrom(second),
    });
    this.lens.addEventListener("view", () => this.strip.showWindow(this.lens.view));
    this.strip.showWindow(this.lens.view);
    if (drawn) this.draw(drawn.strip, drawn.scale);
    this.trim = new Trim(this.screen, this.lens);
    const close = iconButton("close", "Close", () => this.dialog.close());
    this.dialog.replaceChildren(
      element(
        "header",
        {},
        element("h2", { id: "viewer-title", title: film.film }, film.name),
        element("p", { class: "folder" }, shortFolder(film.folder ?? "")),
        close,
      ),
      element(
        "div",
        { class: "bench" },
        this.screen.element,
        this.strip.element,
        this.lens.element,
        this.trim.element,
        element("div", { class: "line actions" }, ...actions),
      ),
    );
    this.dialog.showModal();
    this.screen.toggle.focus();
    this.screen.show(moment.start);
  }

  /** Draws scores along the film. */
  draw(strip, scale) {
    this.strip.draw(strip, scale);
    this.lens.draw(strip, scale);
  }

  #key(event) {
    if (playerKey(event, this.screen) || this.#ownKey(event)) event.preventDefault();
  }

  #ownKey(event) {
    if (event.target.matches("input, select, button, [role=slider]")) return false;
    const { moment } = this.screen;
    if (event.key === " ") this.screen.press();
    else if (event.key === "Home") this.screen.show(moment.start);
    else if (event.key === "End") this.screen.show(moment.end);
    else return false;
    return true;
  }

  #closed() {
    this.screen.drop();
    this.dialog.replaceChildren();
    this.onClose();
  }
}

/** A button that opens the viewer. */
export function trimButton(name, onClick, disabled) {
  const button = element("button", { type: "button", class: "small", disabled, on: { click: onClick } }, icon("trim"), "Trim");
  button.setAttribute("aria-label", `Trim: ${name}, in the viewer`);
  button.title = "Larger, to move in it frame by frame and to trim (e)";
  return button;
}
