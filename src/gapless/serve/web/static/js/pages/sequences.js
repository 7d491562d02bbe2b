// The page of all sequences: search box, filters, table. The address holds what is searched for and where one was.

import { get, isAborted } from "../core/api.js";
import { byId, el } from "../core/dom.js";
import { announce } from "../core/message.js";
import { onReturn, read, write } from "../core/place.js";
import { onSetting } from "../core/settings.js";
import { VirtualTable } from "../core/table.js";
import { columnsWith, placeOf, spansOf } from "../sequences/columns.js";
import { Completion } from "../sequences/completion.js";
import { keepRenewing } from "../sequences/renewal.js";
import { FILTERS, Question, searchOfPlace } from "../sequences/search.js";
import { isUnfinished, useOf } from "../sequences/search_text.js";
import { Sparklines } from "../sequences/sparklines.js";
import { tellCount, tellNothing, tellRefusal, tellUse } from "../sequences/told.js";

const TYPING_MS = 350; // a pause this long in typing is a question
const SCROLL_MS = 300;
const RENEWED_ROWS = 400; // further down, rows are read as they were when they came
const NARROW_PX = 640;

const input = byId("search");
const told = byId("told");
const counted = byId("count");
const frame = byId("sequences");
let wanted = searchOfPlace();
let question = new Question(wanted);
let typing = 0;
let scrolling = 0;
let turn = 0;
let hasAnswered = false;
let isLost = false;

const completion = new Completion(input, {
  fetchCompletions: (at, asked) => get("/completions", { at }, asked),
  onchange: typed,
  onrefused: (error) => tellRefusal(told, error, { use: "none" }),
});
const table = new VirtualTable(frame, {
  label: "Sequences",
  columns: columnsWith(new Sparklines()),
  fetchPage: question.fetchPage,
  order: wanted.order,
  rowKey: ({ name }) => name,
  rowHeight: (width, rows) => (width < NARROW_PX ? 58 : 36) + (rows.some((row) => row.spans?.length) ? 28 : 0),
  detail: spansOf,
  onopen: (row, event) => open(row, event),
  onorder: (order) => ordered(order),
  onplace: (first) => placed(first),
  onstate: (state) => arrived(state),
  whenEmpty: (node) => tellNothing(node, question.search, { clear }),
});

showSearch();
returnToPlace();
byId("group").addEventListener("focus", listGroups);
input.addEventListener("input", typed);
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  completion.close();
  search({ query: input.value, as: null }, { push: true });
});
for (const name of FILTERS) {
  byId(name).addEventListener("change", ({ target }) => search({ [name]: target.value || null }, { push: true }));
}
onReturn(() => {
  wanted = searchOfPlace();
  showSearch();
  ask();
});
onSetting("zone", () => table.redraw());
keepRenewing(renew);

/** Ask for something else; ``changes`` are of what searchOfPlace() gives. */
function search(changes, { push }) {
  clearTimeout(typing);
  wanted = { ...wanted, ...changes };
  write({ ...wanted, at: null }, { push });
  showSearch();
  ask();
}

async function ask() {
  turn += 1;
  const mine = turn;
  const next = new Question(wanted);
  const before = question;
  question = next; // what an empty answer speaks of
  const error = await table.ask(next.fetchPage, wanted.order);
  if (mine !== turn) return;
  frame.toggleAttribute("data-stale", error !== null);
  if (error === null) {
    tellUse(told, next.use, next.warnings);
    announce(counted.textContent);
    return;
  }
  question = before; // the rows shown are still its
  counted.textContent = "of the search before";
  tellRefusal(told, error, { use: next.use, asWords: () => search({ as: "text" }, { push: true }) });
}

function typed() {
  clearTimeout(typing);
  const text = input.value;
  if (useOf(text) === "query" && isUnfinished(text)) {
    tellUse(told, "unfinished");
    return;
  }
  typing = setTimeout(() => search({ query: text, as: null }, { push: false }), TYPING_MS);
}

function clear(names) {
  search({ ...Object.fromEntries(names.map((name) => [name, null])), as: null }, { push: true });
  input.focus();
}

function ordered(order) {
  wanted = { ...wanted, order };
  write({ order, at: null }, { push: true });
}

function arrived(state) {
  if (state.error !== null) return;
  tellCount(counted, state);
  if (hasAnswered) return;
  hasAnswered = true; // the rows that the page began with, which ask() did not ask for
  tellUse(told, question.use, question.warnings);
}

function placed(first) {
  clearTimeout(scrolling);
  scrolling = setTimeout(() => write({ at: first === 0 ? null : first }), SCROLL_MS);
}

function open(row, event) {
  const place = placeOf(row.name);
  if (event.ctrlKey || event.metaKey) window.open(place);
  else location.assign(place);
}

function showSearch() {
  const text = wanted.query ?? "";
  if (input.value.trim() !== text.trim()) input.value = text; // a blank that is being typed stays
  for (const name of FILTERS) byId(name).value = wanted[name] ?? "";
}

async function returnToPlace() {
  const at = Number(read().get("at") ?? 0);
  if (Number.isInteger(at) && at > 0) await table.reveal(at);
}

/** Offer the groups that there are to the filter, now that somebody turns to it. */
async function listGroups() {
  try {
    const { completions } = await get("/completions", { at: 'group == "' });
    const values = completions.filter(({ kind }) => kind === "value").map(({ text }) => JSON.parse(text));
    byId("groups").replaceChildren(...values.map((value) => el("option", { value })));
  } catch (error) {
    if (!isAborted(error)) tellRefusal(told, error, { use: "none" });
  }
}

async function renew() {
  if (table.first > RENEWED_ROWS || frame.hasAttribute("data-stale")) return;
  const mine = turn;
  const error = await table.refresh();
  if (mine !== turn) return;
  if (error !== null) tellRefusal(told, error, { use: "none" });
  else if (isLost) tellUse(told, question.use, question.warnings);
  isLost = error !== null;
}
