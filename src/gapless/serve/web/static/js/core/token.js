// The token that shows the server that a change comes from a page of its own.
//
// A server that was started anew knows no token of before. A page that has been open meanwhile gets itself a new one,
// as a reload would: an emergency stop must not wait for somebody to think of that.

/** The token of this page, "" where none is needed. */
export function token() {
  return place()?.content ?? "";
}

/** Get a new token; true when there is one. Without a session that counts there is none: one signs in again. */
export async function renewToken() {
  const page = await fetch(location.href, { headers: { Accept: "text/html" } }); // begins a session where one may
  const told = page.ok ? await fetch("/api/v1/session") : page;
  if (!told.ok || place() === null) return false;
  const { csrf } = await told.json();
  if (!csrf || csrf === token()) return false;
  place().content = csrf;
  return true;
}

function place() {
  return document.querySelector('meta[name="csrf"]');
}
