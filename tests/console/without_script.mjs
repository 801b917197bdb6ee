// Script off: every link leads to a page, and forms send what is in them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { PAGES } from './pages.mjs';
import { DESK, origin, page } from './system.mjs';

test('with script off all links and filters work', async () => {
  await page.send('Emulation.setScriptExecutionDisabled', { value: true });
  await page.screen(...DESK, 'light');
  const known = new Set(Object.values(PAGES).map((path) => origin + path));
  for (const address of known) {
    await page.open(address);
    assert.equal(page.statuses.get(address), 200, address);
    for (const link of await page.evaluate(() => [...document.links].map((link) => link.href))) known.add(link);
  }
  assert(known.size > 2 * Object.keys(PAGES).length, `only ${known.size} addresses`);

  await page.open(`${origin}/errors`);
  assert.equal(await page.evaluate(() => document.querySelector('#pause').checkVisibility()), false);
  await page.tabTo('reason');
  await page.type('transient');
  await page.press('Enter');
  await page.until('the list is narrowed', () => new URLSearchParams(location.search).get('reason') === 'transient');
  await page.send('Emulation.setScriptExecutionDisabled', { value: false });
});
