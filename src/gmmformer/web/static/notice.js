// What is to be said about results as a whole: that there are none, that they failed, that nothing stands out.

import { element } from "./dom.js";

/** A box above the results; alone in the middle where there are none. */
export class Notice {
  /** @param {function(): boolean} among whether there are results below it */
  constructor(among) {
    this.among = among;
    this.element = element("div", { class: "notice", hidden: true });
  }

  /** Says something, or nothing. */
  show(title = "", text = "", ...actions) {
    this.element.replaceChildren(...(title ? [element("h2", {}, title), element("p", {}, text), ...actions] : []));
    this.element.hidden = !title;
    this.element.classList.toggle("alone", Boolean(title) && !this.among());
    this.element.removeAttribute("role");
  }

  /** Says that nothing was found among so many films; `widen` takes away the filters, if there are any. */
  showNone(films, widen) {
    if (!films) this.show("This library has no films yet.", "They show up here as soon as “gmmformer index” has taken them in.");
    else if (widen) {
      const button = element("button", { type: "button", class: "strong", on: { click: widen } }, "Remove filters");
      this.show("No film fits these filters.", "There may be something without them.", button);
    } else this.show("Nothing found.", "Try other words.");
  }
}
