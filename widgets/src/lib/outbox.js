// @ts-check
// Sends edits to Python: the first at once, then the newest after a pause.

/**
 * @param {(edits: Record<string, unknown>) => void} send
 * @param {() => number} [pause] milliseconds until the next may go, asked at each
 */
export function outbox(send, pause = () => 50) {
  /** @type {Record<string, unknown> | null} */
  let waiting = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  function post() {
    timer = undefined;
    if (!waiting) return;
    const edits = waiting;
    waiting = null;
    timer = setTimeout(post, pause());
    send(edits);
  }
  return {
    /** @param {Record<string, unknown>} edits */
    put(edits) {
      waiting = { ...waiting, ...edits };
      if (timer === undefined) post();
    },
    /** Send what waits, now: a pointer was lifted, Enter was pressed. */
    flush() {
      clearTimeout(timer);
      post();
    },
    get waiting() {
      return waiting !== null;
    },
  };
}
