// How moments are to be exported: the form at the foot of the tray. What is chosen is kept in the browser.

import { download, query } from "./api.js";
import { element } from "./dom.js";
import { plural } from "./format.js";
import { save, tell, working } from "./messages.js";

const STORED = "gmmformer.export";
const FORMATS = [
  ["edl", "EDL – Avid, Resolve, Premiere"],
  ["xml", "Final Cut 7 XML – Premiere, Resolve"],
  ["fcpxml", "FCPXML – Final Cut Pro, Resolve"],
  ["otio", "OpenTimelineIO – Resolve, Hiero"],
  ["csv", "Table (CSV)"],
  ["json", "JSON"],
];

/** What the server is asked for: a format, seconds before and after each moment, and where films lie elsewhere. */
export class ExportForm {
  /** @param {function(): Array<Object>} items gives what is to be exported */
  constructor(items) {
    this.items = items;
    const kept = stored();
    this.format = element(
      "select",
      { id: "format" },
      ...FORMATS.map(([value, text]) => element("option", { value, selected: value === kept.format }, text)),
    );
    this.handles = field("handles", { type: "number", min: 0, max: 60, step: "any", inputmode: "decimal", placeholder: "0" }, kept.handles);
    this.here = field("here", { placeholder: "/srv/films" }, kept.here);
    this.there = field("there", { placeholder: "Z:\\Films" }, kept.there);
    const button = element("button", { type: "submit", class: "strong" }, "Export");
    this.summary = element("span", {});
    this.more = element(
      "details",
      {},
      element("summary", {}, "Handles and paths", this.summary),
      row("Seconds before and after each moment", this.handles),
      row("Films that are here in", this.here),
      row("are there, for the editing program, in", this.there),
    );
    this.element = element(
      "form",
      {
        on: {
          change: () => this.#keep(),
          submit: (event) => {
            event.preventDefault();
            this.#export(button);
          },
        },
      },
      element("label", { for: "format" }, "For an editing program"),
      element("div", { class: "line" }, this.format, button),
      this.more,
    );
    this.#tell();
  }

  /** What the export's request says beside the moments. */
  get wanted() {
    const [here, there] = [this.here.value.trim(), this.there.value.trim()];
    return { handles: Number(this.handles.value) || 0, elsewhere: here || there ? { here, there } : null };
  }

  #export(button) {
    const moments = this.items().map(({ id, start, end, query: asked = "", title = "", note = "" }) => ({
      id,
      start,
      end,
      query: asked,
      name: title,
      note,
    }));
    working(button, async () => {
      const format = this.format.value;
      const file = await download(`api/export?${query({ format })}`, { moments, ...this.wanted }, `moments.${format}`);
      save(file);
      tell(`Saved ${plural(moments.length, "moment")} as ${file.name}.`);
    });
  }

  #keep() {
    const kept = Object.fromEntries(["format", "handles", "here", "there"].map((name) => [name, this[name].value]));
    try {
      localStorage.setItem(STORED, JSON.stringify(kept));
    } catch {
      // A browser that keeps nothing keeps it as long as the page.
    }
    this.#tell();
  }

  #tell() {
    const { handles, elsewhere } = this.wanted;
    const parts = [handles ? `${handles} s` : "", elsewhere ? `${elsewhere.here} → ${elsewhere.there}` : ""];
    this.summary.textContent = parts.filter(Boolean).join(" · ");
  }
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORED)) ?? {};
  } catch {
    return {};
  }
}

function field(id, attributes, value) {
  const fixed = { id, type: "text", maxlength: 1000, autocomplete: "off", spellcheck: "false" };
  const input = element("input", { ...fixed, ...attributes });
  input.value = value ?? "";
  return input;
}

function row(text, input) {
  return element("div", { class: "row" }, element("label", { for: input.id }, text), input);
}
