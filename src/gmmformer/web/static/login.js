// The login view: shown when the server wants its token, which people know as a key.

import { login } from "./api.js";
import { readAddress } from "./address.js";
import { element } from "./dom.js";

/** Asks for the key; calls `onDone` when the server has taken it. */
export class LoginView {
  /** @param {HTMLElement} root  @param {function(): void} onDone */
  constructor(root, onDone) {
    this.root = root;
    this.onDone = onDone;
    this.token = element("input", {
      id: "token",
      type: "password",
      autocomplete: "current-password",
      required: true,
      "aria-describedby": "token-why",
    });
    this.error = element("p", { class: "wrong", role: "alert" });
    this.button = element("button", { type: "submit", class: "strong" }, "Log in");
    this.reveal = element("button", { type: "button", "aria-pressed": "false", on: { click: () => this.#reveal() } }, "Show");
    this.reveal.setAttribute("aria-label", "Show the key");
    this.why = element("p", { id: "token-why" });
    const form = element("form", { class: "login", on: { submit: (event) => this.#submit(event) } });
    form.append(
      element("h2", {}, "Log in"),
      this.why,
      element("label", { for: "token" }, "Access key"),
      element("div", { class: "line" }, this.token, this.reveal, this.button),
      this.error,
      element("p", { class: "note" }, "This browser stays logged in for 30 days, or until you log out."),
    );
    root.append(form);
  }

  show() {
    document.title = "Log in – gmmformer";
    const { query, film } = readAddress();
    const then = film ? " Then you come to the moment that your link leads to." : query ? " Then you come to your search." : "";
    this.why.textContent = `These films can be seen with an access key: a long word that whoever runs this server can tell you.${then}`;
    this.token.focus();
  }

  async #submit(event) {
    event.preventDefault();
    this.button.disabled = true;
    this.error.textContent = "";
    try {
      await login(this.token.value.trim());
      this.token.value = "";
      this.#reveal(false);
      this.onDone();
    } catch (error) {
      this.error.textContent = said(error);
      this.token.select();
    } finally {
      this.button.disabled = false;
    }
  }

  #reveal(open = this.token.type === "password") {
    this.token.type = open ? "text" : "password";
    this.reveal.setAttribute("aria-pressed", String(open));
  }
}

function said({ status, retryAfter, message }) {
  if (status === 401) return "That is not the key. Look whether all of it was copied, and nothing else.";
  return status === 429 && retryAfter ? `Too many wrong keys. Try again in ${retryAfter} s.` : message;
}
