// What every page has around its content: theme, time zone, who is signed in, which part is shown.

import { del, get, isAborted } from "./api.js";
import { byId, el } from "./dom.js";
import { toast } from "./message.js";
import { chooseTheme, chooseZone, onSetting, theme, zone } from "./settings.js";

const NEXT_THEME = { system: "light", light: "dark", dark: "system" };
const THEME_WORDS = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
const THEME_SIGNS = { system: "◐", light: "○", dark: "●" };
const ZONE_WORDS = { local: "Times are local; switch to UTC", utc: "Times are UTC; switch to local" };

const themeButton = byId("theme");
const zoneButton = byId("zone");

themeButton.addEventListener("click", () => chooseTheme(NEXT_THEME[theme()]));
zoneButton.addEventListener("click", () => chooseZone(zone() === "utc" ? "local" : "utc"));
onSetting("theme", showTheme);
onSetting("zone", showZone);
showTheme();
showZone();
showCaller();

function showTheme() {
  name(themeButton, THEME_SIGNS[theme()], THEME_WORDS[theme()]);
}

function showZone() {
  name(zoneButton, zone() === "utc" ? "UTC" : "Local", ZONE_WORDS[zone()]);
}

function name(button, sign, words) {
  button.replaceChildren(el("span", { "aria-hidden": "true" }, sign), el("span", { class: "unseen" }, words));
  button.title = words;
}

/** Where keys are asked for, say what this session may do and offer to end it. */
async function showCaller() {
  const place = byId("caller");
  if (place.dataset.keys !== "true") return;
  try {
    const { caller } = await get("/info");
    document.body.dataset.may = caller.right; // hides what this key would be refused
    place.replaceChildren(
      el("span", { class: "pill", title: groupWords(caller.groups) }, `may ${caller.right}`),
      el("button", { type: "button", class: "button quiet", onclick: signOut }, "Sign out"),
    );
  } catch (error) {
    if (!isAborted(error)) toast(error.message, "bad");
  }
}

function groupWords(groups) {
  return groups === null || groups === undefined || groups.length === 0
    ? "every group"
    : `groups: ${groups.join(", ")}`;
}

async function signOut() {
  try {
    await del("/session");
  } catch (error) {
    if (error.status !== 401) {
      toast(error.message, "bad");
      return;
    }
  }
  location.assign("/login");
}
