// What can be done with a moment: into the tray, or saved as a film of its own.

import { cut } from "./api.js";
import { element, icon, iconButton } from "./dom.js";
import { span } from "./format.js";
import { save, tell, working } from "./messages.js";

/** A button that puts a moment of a film into the tray or takes it out; `show` tells it whether it is there. */
export function keepButton(name, onClick) {
  const button = element("button", { type: "button", class: "small", on: { click: onClick } });
  button.setAttribute("aria-label", `Keep this moment of ${name} in the tray`);
  button.show = (picked) => {
    button.setAttribute("aria-pressed", String(picked));
    button.title = picked ? "Take out of the tray" : "Put into the tray";
    button.replaceChildren(icon(picked ? "check" : "add"), "Tray");
  };
  button.show(false);
  return button;
}

/** A button that opens the viewer; where that could not be fetched it is tried again. */
export function trimButton(name, onClick, disabled) {
  const button = element("button", { type: "button", class: "small", disabled }, icon("trim"), "Trim");
  button.addEventListener("click", () => working(button, onClick));
  button.setAttribute("aria-label", `Trim: ${name}, in the viewer`);
  button.title = "Larger, to move in it frame by frame and to trim (e)";
  return button;
}

/** A button that looks for other films like a moment of this one. */
export function alikeButton(film, onClick) {
  const button = iconButton("alike", `More like this moment of ${film.name}`, onClick);
  button.title = "More like this: other films that look like what is shown here";
  return button;
}

/** A button that saves a moment of a film: the one that `momentNow` gives when it is pressed. */
export function cutButton(film, momentNow) {
  const button = element("button", { type: "button", class: "small", disabled: !film.available }, icon("download"), "mp4");
  button.setAttribute("aria-label", `Save this moment of ${film.name} as mp4`);
  button.title = "Save this moment as mp4";
  button.addEventListener("click", () =>
    working(button, async () => {
      const { start, end } = momentNow();
      save(await cut({ id: film.id, start, end }));
      tell(`Saved ${span(start, end)} of ${film.name}.`);
    }),
  );
  return button;
}
