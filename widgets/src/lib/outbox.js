// @ts-check
// Sends edits to Python: the first at once, then at most one every `pause` milliseconds, always the newest.

/**
 * @param {(edits: Record<string, unknown>) => void} send
 * @param {number} [pause] milliseconds
 * @param {() => number} [rest] how many more the next has to wait, asked when it could go
 */
export function outbox(send, pause = 50, rest = () => 0) {
  /** @type {Record<string, unknown> | null} */
  let waiting = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  function post() {
    timer = undefined;
    if (!waiting) return;
    const left = rest();
    if (left > 0) timer = setTimeout(post, left);
    else go();
  }
  function go() {
    timer = undefined;
    if (!waiting) return;
    const edits = waiting;
    waiting = null;
    timer = setTimeout(post, pause);
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
      go();
    },
    get waiting() {
      return waiting !== null;
    },
  };
}
