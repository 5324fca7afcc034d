// Floods: the first edit goes at once, the last one always arrives, in between there are few.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { outbox } from "../src/lib/outbox.js";

test("a flood ends in its last edit, with one message every pause", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  const box = outbox((edits) => sent.push(edits), 50);
  for (let i = 0; i < 200; i += 1) {
    box.put({ x: i });
    mock.timers.tick(5);
  }
  mock.timers.tick(200);
  assert.equal(sent[0].x, 0);
  assert.equal(sent.at(-1).x, 199);
  assert.ok(sent.length <= 22, `${sent.length} messages in a second`);
  assert.equal(box.waiting, false);
  mock.timers.reset();
});

test("edits of different dials travel together, and flush does not wait", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  const box = outbox((edits) => sent.push(edits), 50);
  box.put({ x: 1 });
  box.put({ x: 2 });
  box.put({ y: 3 });
  assert.equal(box.waiting, true);
  box.flush();
  assert.deepEqual(sent, [{ x: 1 }, { x: 2, y: 3 }]);
  mock.timers.tick(500);
  assert.equal(sent.length, 2);
  mock.timers.reset();
});
