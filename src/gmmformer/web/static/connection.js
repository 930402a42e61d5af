// Whether the server answers. What failed because it did not is tried again: soon, when it is back, and when it is asked for.

/** Milliseconds between two questions whether a server that is gone is back. */
const KNOCK = 2000;
/** Milliseconds until something is tried again, at first and at most; each time it is twice as long. */
const [SOON, RARELY] = [1000, 30_000];

/** Events: "login" (a token is needed), "lost" (the server does not answer), "back" (it does again). */
class Connection extends EventTarget {
  #looking = false;
  #timer = 0;
  /** Whether the server does not answer at all. */
  lost = false;

  constructor() {
    super();
    addEventListener("online", () => this.lost && this.knock());
  }

  /** Somebody got no answer: is it the server, or did one connection break, or a proxy give up? */
  async failed() {
    if (this.lost || this.#looking) return;
    this.#looking = true;
    const there = await healthy();
    this.#looking = false;
    if (there) return;
    this.lost = true;
    this.dispatchEvent(new Event("lost"));
    this.#timer = setTimeout(() => this.knock(), KNOCK);
  }

  /** Somebody got an answer. */
  answered() {
    if (!this.lost) return;
    this.lost = false;
    clearTimeout(this.#timer);
    this.dispatchEvent(new Event("back"));
  }

  /** Looks whether the server is back, now and then until it is. */
  async knock() {
    clearTimeout(this.#timer);
    if (await healthy()) return this.answered();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.lost && this.knock(), KNOCK);
  }
}

export const connection = new Connection();

async function healthy() {
  try {
    const response = await fetch("healthz", { cache: "no-store" });
    return response.ok;
  } catch {
    return false;
  }
}

/** Something that is to be tried again. */
export class Again {
  #tries = 0;
  #timer = 0;
  #now = () => this.now();
  /** Whether it is going to be. */
  waiting = false;

  /** @param {function(): void} job */
  constructor(job) {
    this.job = job;
  }

  /**
   * It failed: it is tried again after a while, and as soon as the server is back.
   * @param {{retryAfter?: number | null} | null} error may say after how many seconds
   */
  wait(error = null) {
    this.stop();
    this.waiting = true;
    connection.addEventListener("back", this.#now);
    const pause = error?.retryAfter ? 1000 * error.retryAfter : Math.min(SOON * 2 ** this.#tries, RARELY);
    this.#tries += 1;
    this.#timer = setTimeout(() => connection.lost || this.now(), pause);
  }

  /** Tries it now, if it waits to be. */
  now() {
    if (!this.waiting) return;
    this.stop();
    this.job();
  }

  /** Tries it no more. */
  stop() {
    this.waiting = false;
    clearTimeout(this.#timer);
    connection.removeEventListener("back", this.#now);
  }

  /** It went well. */
  done() {
    this.stop();
    this.#tries = 0;
  }
}
