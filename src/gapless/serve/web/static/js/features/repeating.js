// Asking again and again while somebody looks.

/**
 * Call ``ask`` now and then every ``everyMs`` after it has ended, but not while the page is hidden. Returns
 * {stop(), now()}: ``now`` asks at once. What ``ask`` rejects with goes to ``failed``, and asking goes on.
 */
export function repeating(ask, everyMs, failed) {
  let timer = 0;
  let isOver = false;
  let isAsking = false;

  const turn = async () => {
    clearTimeout(timer);
    if (isOver || isAsking) return;
    isAsking = true;
    try {
      if (!document.hidden) await ask();
    } catch (error) {
      if (!isOver) failed(error);
    } finally {
      isAsking = false;
    }
    if (!isOver) timer = setTimeout(turn, everyMs);
  };
  const shown = () => !document.hidden && turn();
  document.addEventListener("visibilitychange", shown);
  turn();
  return {
    now: turn,
    stop: () => {
      isOver = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    },
  };
}
