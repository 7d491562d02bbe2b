// What a reader chose for this browser: theme, time zone, the name under which notes are written.
// A browser that keeps nothing (private windows may refuse storage) gets the defaults, for as long as it is open.

const KEYS = { theme: "gapless.theme", zone: "gapless.zone", author: "gapless.author" };
const unkept = new Map();

/** "light", "dark" or "system". */
export function theme() {
  return kept("theme") ?? "system";
}

/** Choose the theme; "system" follows the operating system. */
export function chooseTheme(name) {
  keep("theme", name === "system" ? null : name);
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  tell("theme");
}

/** "local" or "utc": how times are written. */
export function zone() {
  return kept("zone") ?? "local";
}

/** Choose how times are written; views are told by onSetting(). */
export function chooseZone(name) {
  keep("zone", name);
  tell("zone");
}

/** The name under which this browser's notes and labels are written, "" when none was given. */
export function author() {
  return kept("author") ?? "";
}

/** Keep the name for the next note. */
export function chooseAuthor(name) {
  keep("author", name);
}

/** Call a function whenever "theme" or "zone" changes, also by the operating system; returns what ends that. */
export function onSetting(name, listener) {
  const heard = (event) => event.detail === name && listener();
  document.addEventListener("gapless:setting", heard);
  return () => document.removeEventListener("gapless:setting", heard);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (theme() === "system") tell("theme");
});

function tell(name) {
  document.dispatchEvent(new CustomEvent("gapless:setting", { detail: name }));
}

function kept(name) {
  try {
    return localStorage.getItem(KEYS[name]) ?? unkept.get(name) ?? null;
  } catch (refused) {
    if (!(refused instanceof DOMException)) throw refused;
    return unkept.get(name) ?? null;
  }
}

function keep(name, value) {
  unkept.set(name, value);
  try {
    if (value === null) localStorage.removeItem(KEYS[name]);
    else localStorage.setItem(KEYS[name], value);
  } catch (refused) {
    if (!(refused instanceof DOMException)) throw refused; // unkept has it
  }
}
