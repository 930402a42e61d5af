// Elements and icons. What is text stays text: no string is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element.
 * @param {string} tag
 * @param {Record<string, any>} properties `class`, `data` (dataset), `on` (listeners by event), attributes; false and null are left out.
 * @param {...(Node|string|null|undefined)} children strings become text
 */
export function element(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/**
 * As `element`, for the parts of a drawing.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...Node} children
 */
export function drawing(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

/** @type {function(any, Record<string, any>, Array<Node | string | null | undefined>): any} */
function filled(made, { class: classes, data = {}, on = {}, ...attributes }, children) {
  if (classes) made.setAttribute("class", classes);
  Object.assign(made.dataset, data);
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  setAttributes(made, attributes);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets what has a value, removes what is false, null or undefined. */
export function setAttributes(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) target.removeAttribute(name);
    else if (target.getAttribute(name) !== String(value === true ? "" : value))
      target.setAttribute(name, value === true ? "" : value);
  }
}

const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  add: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  check: "m9.5 17.3-5-5 1.5-1.5 3.5 3.5 8.5-8.5 1.5 1.5z",
  close: "m12 10.6 5-5 1.4 1.4-5 5 5 5-1.4 1.4-5-5-5 5L5.6 17l5-5-5-5L7 5.6z",
  download: "M11 4h2v8.2l3-3 1.4 1.4L12 16l-5.4-5.4L8 9.2l3 3zM5 18h14v2H5z",
  sound: "M4 9.5h3.5L12 5v14l-4.5-4.5H4zM14 8.6a4.5 4.5 0 0 1 0 6.8zM14 4.7a8 8 0 0 1 0 14.6v-2.1a6 6 0 0 0 0-10.4z",
  silent: "M4 9.5h3.5L12 5v14l-4.5-4.5H4zM15 9.4l1.2-1.2 2 2 2-2 1.2 1.2-2 2.1 2 2-1.2 1.2-2-2-2 2-1.2-1.2 2-2z",
  whole: "M4 4h7v2H6v5H4zM13 4h7v7h-2V6h-5zM4 13h2v5h5v2H4zM18 13h2v7h-7v-2h5z",
  grip: "M9 5h2v2H9zM13 5h2v2h-2zM9 11h2v2H9zM13 11h2v2h-2zM9 17h2v2H9zM13 17h2v2h-2z",
  undo: "M9 5 4 9.5l5 4.5v-3.5h5a3.25 3.25 0 0 1 0 6.5H8v2h6a5.25 5.25 0 0 0 0-10.5H9z",
  pencil: "M4 16.5V20h3.5l10-10L14 6.5zM15.2 5.3l3.5 3.5 1.6-1.6-3.5-3.5z",
  bin: "M9 4h6l1 2h4v2H4V6h4zM6 9h12l-1 11H7z",
  trim: "M7 4v4H4v2h3v7h7v3h2v-3h4v-2h-4V8H9V4zM9 10h5v5H9z",
  frameBack: "M14.5 6 16 7.5 11.5 12l4.5 4.5-1.5 1.5-6-6z",
  frameOn: "M9.5 6 8 7.5l4.5 4.5L8 16.5 9.5 18l6-6z",
  shotBack: "M6 6h2v12H6zM17.5 6 19 7.5 14.5 12l4.5 4.5-1.5 1.5-6-6z",
  shotOn: "M16 6h2v12h-2zM6.5 6 5 7.5 9.5 12 5 16.5 6.5 18l6-6z",
  markStart: "M7 5h6v2H9v10h4v2H7z",
  markEnd: "M17 5h-6v2h4v10h-4v2h6z",
  in: "M10 4a6 6 0 1 1-3.7 10.7L4 17l-1.4-1.4 2.3-2.3A6 6 0 0 1 10 4zm0 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM9 7h2v2h2v2h-2v2H9v-2H7V9h2z",
  out: "M10 4a6 6 0 1 1-3.7 10.7L4 17l-1.4-1.4 2.3-2.3A6 6 0 0 1 10 4zm0 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM7 9h6v2H7z",
  fit: "M4 6h2v12H4zM18 6h2v12h-2zM8 11h8v2H8zM10 8.5 6.5 12l3.5 3.5zM14 8.5 17.5 12 14 15.5z",
  up: "m12 5 6 6-1.4 1.4-3.6-3.6V19h-2V8.8l-3.6 3.6L6 11z",
  link: "M10.6 13.4a4 4 0 0 1 0-5.7l3-3a4 4 0 0 1 5.7 5.7l-1.5 1.5-1.4-1.4 1.5-1.5a2 2 0 0 0-2.9-2.9l-3 3a2 2 0 0 0 0 2.9zM13.4 10.6a4 4 0 0 1 0 5.7l-3 3a4 4 0 0 1-5.7-5.7l1.5-1.5 1.4 1.4-1.5 1.5a2 2 0 0 0 2.9 2.9l3-3a2 2 0 0 0 0-2.9z",
  folder: "M3 5h7l2 2h9v12H3zM5 9v8h14V9z",
  alike: "M3 4h12v10H3zM5 6v6h8V6zM17 8h4v12H9v-4h2v2h8v-8h-2z",
  again: "M12 5a7 7 0 1 1-6.8 8.7l2-.5A5 5 0 1 0 12 7v3L7.5 6 12 2z",
};

/** One of the icons, hidden from screen readers. */
export function icon(name) {
  return drawing("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, drawing("path", { d: ICONS[name] }));
}

/**
 * The element in which an event happened.
 * @param {Event} event
 * @returns {Element}
 */
export function within(event) {
  return /** @type {Element} */ (event.target);
}

/** A button with an icon, and words for those who do not see it. */
export function iconButton(name, label, onClick, classes = "") {
  return element(
    "button",
    { type: "button", class: `icon ${classes}`, "aria-label": label, title: label, on: { click: onClick } },
    icon(name),
  );
}

/** Shows another icon and other words on a button. */
export function relabel(button, name, label) {
  if (button.getAttribute("aria-label") === label) return;
  setAttributes(button, { "aria-label": label, title: label });
  button.replaceChildren(icon(name));
}
