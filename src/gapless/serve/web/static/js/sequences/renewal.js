// Keeps a list as it is in the store now: asks again while somebody looks. The pause is ten times as long as the answer
// took, and never below three seconds, so that looking does not keep the server busy.

const PAUSE_MS = 3000;
const PATIENCE = 10;

/**
 * Call ``renew`` (a promise, or null to leave it out this time) again and again while the page is visible; at once when
 * it comes back.
 */
export function keepRenewing(renew) {
  let timer = 0;
  const later = (pause) => {
    clearTimeout(timer);
    timer = document.hidden ? 0 : setTimeout(turn, pause);
  };
  const turn = async () => {
    const start = performance.now();
    try {
      await renew();
    } finally {
      later(Math.max(PAUSE_MS, PATIENCE * (performance.now() - start)));
    }
  };
  document.addEventListener("visibilitychange", () => later(0));
  later(PAUSE_MS);
}
