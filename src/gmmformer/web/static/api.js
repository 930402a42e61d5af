// The server, as the page talks to it. Addresses are relative, so that it may stand behind any path of a proxy.

import { Again, connection } from "./connection.js";

/** Answers that say "not now": a busy server, or a proxy that got no answer. */
const PASSING = [408, 429, 502, 503, 504];

/** The server's answer that something cannot be done, in its words. */
export class Problem extends Error {
  constructor(status, detail, retryAfter = null) {
    super(detail);
    this.status = status;
    /** Seconds. */
    this.retryAfter = retryAfter;
  }
}

/** No answer came. */
export class Unreachable extends Error {}

/** Whether what failed may well work later: nobody answered, or whoever did says so. */
export function isPassing(error) {
  return error instanceof Unreachable || (error instanceof Problem && PASSING.includes(error.status));
}

/** Whether an error only says that its question is no longer wanted. */
export function isAborted(error) {
  return error?.name === "AbortError";
}

/** A module that is fetched late; one that does not come is asked for again like anything else. */
export async function arrived(module) {
  try {
    return await module;
  } catch {
    connection.failed();
    throw new Unreachable("A part of the page did not come.");
  }
}

/**
 * What `read` makes of an answer. One that breaks off is none.
 * @param {string} path
 * @param {{signal?: AbortSignal, method?: string, body?: Object, sent?: Blob}} options `body` goes as JSON, `sent` as it is
 * @param {function(Response): Promise<any>} read
 */
export async function ask(path, { signal, method = "GET", body, sent } = {}, read = (response) => response.text()) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  try {
    const response = await fetch(path, {
      signal,
      method,
      headers,
      body: sent ?? (body && JSON.stringify(body)),
      credentials: "same-origin",
    });
    if ([502, 503, 504].includes(response.status)) connection.failed();
    else connection.answered();
    if (!response.ok) throw await problemOf(response);
    return await read(response);
  } catch (error) {
    if (error instanceof Problem && error.status === 401 && path !== "login") connection.dispatchEvent(new Event("login"));
    if (isAborted(error) || error instanceof Problem) throw error;
    connection.failed();
    throw new Unreachable("The server does not answer.");
  }
}

async function problemOf(response) {
  const told = await response.json().catch(() => ({}));
  const detail = typeof told.detail === "string" ? told.detail : told.title;
  const wait = Number(response.headers.get("Retry-After"));
  return new Problem(response.status, detail || `The server answered with ${response.status}.`, wait > 0 ? wait : null);
}

/** As `ask`, of an answer in JSON. */
export const json = (path, options) => ask(path, options, (response) => response.json());

/** What of some fields is worth saying in an address. */
export function query(fields) {
  const given = Object.entries(fields).filter(
    ([, value]) => value !== "" && value !== null && value !== undefined && value !== 0,
  );
  return new URLSearchParams(given);
}

/** Moments for a sentence. */
export function search({ query: sentence, k, skip, moments, where, minLength, within }, signal) {
  const asked = query({ q: sentence, k, skip, moments, where, min_length: minLength });
  for (const source of within ? within.split(",") : []) asked.append("within", source);
  return json(`api/search?${asked}&strips=true`, { signal });
}

/** What is said in a film from a second on, and its tracks: the lines of one of them. */
export function lines(id, track, start = 0) {
  return json(`api/films/${id}/lines?${query({ track, start })}`);
}

/** The scores along one film for a sentence, and its moments that match best. */
export function inside(id, sentence, moments, signal) {
  return json(`api/films/${id}/clips?${query({ q: sentence, moments })}`, { signal });
}

/** A page of the library's films: those with `filter` in their path, in a folder, of a size such as "720-1079". */
export function films({ offset = 0, limit = 24, filter = "", folder = "", size = "", sort = "" }, signal) {
  const [least, most] = size.split("-");
  const order = { sort: sort.replace("-", ""), descending: sort.startsWith("-") || "" };
  const asked = query({ limit, q: filter, folder, min_lines: least, max_lines: most, ...order });
  return json(`api/films?${asked}&offset=${offset}`, { signal });
}

/** One film; null if the library has none of this id. */
export async function film(id) {
  try {
    return await json(`api/films/${id}`);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/** What the library holds. */
export function library(signal) {
  return json("api/library", { signal });
}

/** Shows the token; the server answers with a cookie. */
export async function login(token) {
  await ask("login", { method: "POST", body: { token } });
}

/** Ends the session; its cookie is worth nothing from then on. */
export async function logout() {
  await ask("logout", { method: "POST" });
}

/** The frames per second of a film, and where its shots begin between two seconds. */
export function shots(id, start, end) {
  return json(`api/films/${id}/shots?start=${rounded(start)}&end=${rounded(end)}`);
}

/** A moment as mp4. */
export function cut({ id, start, end }) {
  return download("api/cut", { id, start: rounded(start), end: rounded(end), exact: null }, "moment.mp4");
}

/** Moments as mp4, all in one zip. */
export function cuts(moments) {
  return download("api/cuts", { moments }, "moments.zip");
}

/** A file that the server makes of something. */
export function download(path, body, fallback) {
  return ask(path, { method: "POST", body }, async (response) => ({
    name: filename(response.headers.get("Content-Disposition")) ?? fallback,
    content: await response.blob(),
  }));
}

function filename(disposition) {
  const extended = /filename\*=UTF-8''([^;]+)/i.exec(disposition ?? "");
  if (extended) {
    try {
      return decodeURIComponent(extended[1]);
    } catch {
      return null;
    }
  }
  return /filename="([^"]+)"/i.exec(disposition ?? "")?.[1] ?? null;
}

/** Why an address that a video or an image could not be loaded from does not work; null if it does. */
export async function reasonOf(address) {
  try {
    await ask(address, {}, (response) => response.body?.cancel());
    return null;
  } catch (error) {
    return error;
  }
}

const rounded = (seconds) => Math.round(seconds * 1000) / 1000;

/** The address of a frame. Seconds are rounded to a tenth, so that frames asked for twice come from the cache. */
export function thumbnail(id, second, height) {
  return `api/films/${id}/thumbnail?t=${Math.round(second * 10) / 10}&height=${height}`;
}

/** The address of a film. */
export function media(id) {
  return `media/${id}`;
}

/** The address of a part of a film in a form that every browser plays; its second 0 is `start`. */
export function preview(id, start, end) {
  return `api/films/${id}/preview?start=${rounded(start)}&end=${rounded(end)}`;
}

/** Follows what happens to the library; returns what ends it. */
export function follow({ onLibrary, onActivity, onIntake }) {
  let events = null;
  const connect = () => {
    events = new EventSource("api/events");
    events.addEventListener("library", (event) => onLibrary(JSON.parse(event.data)));
    events.addEventListener("activity", (event) => onActivity(JSON.parse(event.data)));
    events.addEventListener("intake", (event) => onIntake(JSON.parse(event.data)));
    events.addEventListener("open", () => {
      again.done();
      connection.answered();
    });
    events.addEventListener("error", () => {
      connection.failed();
      if (events.readyState === EventSource.CLOSED) again.wait();
    });
  };
  const again = new Again(connect);
  connect();
  return () => {
    again.stop();
    events.close();
  };
}
