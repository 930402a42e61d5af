// Films that are sent to the server from this machine: one after the other, with how far each is.

import { Problem, Unreachable, isPassing } from "./api.js";
import { Again, connection } from "./connection.js";
import { element, icon } from "./dom.js";
import { bytes, plural } from "./format.js";
import { wouldBeTaken } from "./intake_api.js";
import { announce } from "./messages.js";

/** Films on their way, each a line of a list. */
export class Uploads {
  #waiting = [];
  #current = null;

  /** @param {function(Object): void} onTaken told what the server does with films from then on */
  constructor(onTaken) {
    this.onTaken = onTaken;
    this.element = element("ul", { class: "wishes uploads", "aria-label": "Films on their way" });
    addEventListener("beforeunload", (event) => this.#current && event.preventDefault());
  }

  /** A button that lets films be chosen which are sent into a folder. */
  button(folder) {
    const files = element("input", { type: "file", multiple: true, accept: "video/*,.mkv,.mts,.m2ts,.mxf,.ts,.vob", hidden: true });
    files.addEventListener("change", () => {
      this.send(folder, [...files.files]);
      files.value = "";
    });
    const button = element("button", { type: "button", class: "small", on: { click: () => files.click() } }, icon("up"), "Send films here");
    button.setAttribute("aria-label", `Send films from this machine to ${folder}`);
    return element("span", {}, button, files);
  }

  /** Sends files into a folder, when those before are done. */
  send(folder, files) {
    for (const file of files) this.#waiting.push(new Upload(folder, file, (outcome) => this.#done(outcome)));
    this.element.append(...this.#waiting.map((upload) => upload.element));
    announce(`Sending ${plural(files.length, "film")}.`);
    this.#next();
  }

  #next() {
    if (this.#current) return;
    this.#current = this.#waiting.shift() ?? null;
    this.#current?.start();
  }

  #done({ upload, state }) {
    this.#waiting = this.#waiting.filter((one) => one !== upload);
    if (upload === this.#current) this.#current = null;
    if (state) this.onTaken(state);
    this.#next();
  }
}

/** One film. */
class Upload {
  #request = null;
  #ended = false;
  #again = new Again(() => this.start());

  constructor(folder, file, onDone) {
    this.folder = folder;
    this.file = file;
    this.onDone = onDone;
    this.bar = element("progress", { max: Math.max(file.size, 1), value: 0, "aria-label": `Sending ${file.name}` });
    this.text = element("span", { class: "note" }, "waits");
    this.cancel = element("button", { type: "button", class: "small", on: { click: () => this.#stop() } }, icon("close"), "Cancel");
    this.cancel.setAttribute("aria-label", `Do not send ${file.name}`);
    this.element = element("li", { class: "line" }, element("span", { class: "name" }, file.name), this.bar, this.text, this.cancel);
  }

  async start() {
    this.#again.stop();
    try {
      this.#say("asking");
      await wouldBeTaken(this.folder, this.file.name, this.file.size);
      if (this.#ended) return;
      const state = await this.#sent();
      this.#end(`Sent ${this.file.name}.`, state);
      this.element.remove();
    } catch (error) {
      if (this.#ended) return;
      if (isPassing(error)) {
        this.#say(`${error.message} It is sent again as soon as it can be.`);
        this.#again.wait(error);
      } else this.#end(error.message.replace(`${this.file.name}: `, ""));
    }
  }

  // fetch does not say how much was sent.
  #sent() {
    const request = (this.#request = new XMLHttpRequest());
    request.open("POST", `api/upload?${new URLSearchParams({ folder: this.folder, name: this.file.name })}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded }) => {
      this.bar.value = loaded;
      this.#say(`${bytes(loaded)} of ${bytes(this.file.size)}`);
    });
    return new Promise((resolve, reject) => {
      request.addEventListener("error", () => {
        connection.failed();
        reject(new Unreachable("The server does not answer."));
      });
      request.addEventListener("load", () => {
        if (request.status < 300) return resolve(request.response);
        const after = Number(request.getResponseHeader("Retry-After")) || null;
        return reject(new Problem(request.status, request.response?.detail ?? `The server answered with ${request.status}.`, after));
      });
      request.send(this.file);
    });
  }

  #say(text) {
    if (this.text.textContent !== text) this.text.textContent = text;
  }

  #stop() {
    if (!this.#ended) this.#end("");
    this.element.remove();
  }

  #end(text, state = null) {
    this.#ended = true;
    this.#again.stop();
    this.#request?.abort();
    this.bar.remove();
    this.#say(text);
    this.text.classList.add("error");
    this.cancel.replaceChildren(icon("close"), "Close");
    this.cancel.setAttribute("aria-label", `Close what is said of ${this.file.name}`);
    if (text) announce(text);
    this.onDone({ upload: this, state });
  }
}
