// What is at or below the position was told before.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Order } from '../../dist/esm/order.js';
import { chance, recorded } from './recorded.mjs';

const EPOCH = '0123456789abcdef';

test('recorded events are told once, in the order of their versions', () => {
  const order = new Order();
  order.moveTo({ version: 6, epoch: null });
  const events = ['new-message', 'message-edited', 'message-deleted', 'participants-added', 'participant-removed'].map((name) => recorded(name)[1]);
  assert.deepEqual(events.map((event) => order.judge(event)), Array(5).fill('tell'));
  assert.deepEqual(order.position, { version: 11, epoch: EPOCH });
  assert.deepEqual(events.map((event) => order.judge(event)), Array(5).fill('drop'));
});

test('i3: whatever is repeated or turned around, versions rise strictly and the newest is told', () => {
  for (let seed = 1; seed <= 500; seed += 1) {
    const random = chance(seed);
    const order = new Order();
    order.moveTo({ version: Math.floor(random() * 5), epoch: random() < 0.5 ? EPOCH : null });
    const floor = order.position.version;
    const told = [];
    let highest = floor;
    for (let step = 0; step < 60; step += 1) {
      // Versions that are left out, come again, or come late.
      const version = Math.max(1, Math.floor(highest + 4 - random() * 8));
      if (order.judge({ version, epoch: EPOCH }) === 'tell') told.push(version);
      highest = Math.max(highest, version);
      assert.equal(order.position.version, highest, `seed ${seed}`);
    }
    assert.ok(told.every((version, index) => version > (told[index - 1] ?? floor)), `seed ${seed}: ${told}`);
  }
});

test('an event of another history asks for a reload, and moves nothing', () => {
  const order = new Order();
  order.moveTo({ version: 9, epoch: EPOCH });
  assert.equal(order.judge({ version: 3, epoch: '00000000deadbeef' }), 'reload');
  assert.deepEqual(order.position, { version: 9, epoch: EPOCH });
});
