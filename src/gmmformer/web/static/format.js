// Seconds, sizes and strengths as people read them.

/** 75.4 as "01:15"; from an hour on "1:01:15". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${two(minutes)}:${two(rest)}`;
}

/** 75.4 as "01:15.40". */
export function fine(seconds) {
  const hundredths = Math.round(Math.max(0, seconds) * 100);
  return `${clock(Math.floor(hundredths / 100))}.${String(hundredths % 100).padStart(2, "0")}`;
}

/** The seconds of "75.4", "1:15.4" or "1:02:03"; null of anything else. */
export function parsed(text) {
  const match = /^(?:(?:(\d{1,4}):)?(\d{1,5}):)?(\d{1,7}(?:[.,]\d{0,6})?)$/.exec(text.trim());
  if (!match) return null;
  const [hours, minutes, seconds] = match.slice(1).map((part) => Number((part ?? "0").replace(",", ".")));
  return 3600 * hours + 60 * minutes + seconds;
}

/** From when to when, with an en dash between. A moment never looks as if it ended when it starts. */
export function span(start, end) {
  return `${clock(start)} – ${clock(Math.max(end, Math.floor(start) + 1))}`;
}

/** "1 minute 15 seconds", as a screen reader should say it. */
export function spoken(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const parts = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor(whole / 60) % 60, "minute"],
    [whole % 60, "second"],
  ];
  const said = parts.filter(([number]) => number).map(([number, unit]) => plural(number, unit));
  return said.join(" ") || "0 seconds";
}

/** How long something takes, roughly: "40 s", "12 min", "3 h 20 min". */
export function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 6000) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  return `${grouped(Math.round(minutes / 60))} h`;
}

/** 12345 as "12,345". */
export function grouped(number) {
  return number.toLocaleString("en");
}

/** "1 film", "2 films". */
export function plural(number, noun) {
  return `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Bytes with a decimal unit. */
export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${number >= 100 || unit === 0 ? Math.round(number) : number.toPrecision(2)} ${units[unit]}`;
}

const MATCHES = {
  strong: { level: 3, text: "strong match" },
  possible: { level: 2, text: "possible match" },
  weak: { level: 1, text: "weak match" },
};

/** How well something matches, in words and as 1 to 3 bars; null where they mean nothing. */
export function match(word) {
  return MATCHES[word] ?? null;
}

/** Whether that word says that nothing stands out. */
export function isWeak(word) {
  return match(word)?.level === 1;
}
