// What an operator does when a task has failed for good, on a telephone and with a keyboard only.
import assert from 'node:assert/strict';
import test from 'node:test';
import { PHONE, fix, origin, page, printed } from './system.mjs';
import { inspect } from './views.mjs';

const MAX_ROWS = 40;
const shows = (text) => page.until(`"${text}" is shown`, (text) => document.querySelector('main').innerText.includes(text), text);
const isAt = (path) => page.until(`the page is ${path}`, (path) => document.readyState === 'complete' && location.pathname.match(path), path);
// Moves the selection to the row that has this text.
async function select(text) {
  for (let row = 0; row < MAX_ROWS; row += 1) {
    await page.press('j');
    if (await page.evaluate((text) => document.activeElement.closest('tr').innerText.includes(text), text)) return;
  }
  throw new Error(`no row has "${text}"`);
}

let bulk;

test('a dead letter is found, read, replayed and seen done with the keyboard only', async () => {
  await page.screen(...PHONE, 'dark');
  await page.open(printed);
  await page.press('?');
  assert.equal(await page.evaluate(() => document.querySelector('#keys').open), true);

  // What fails, and which.
  await page.press('g', 'e');
  await isAt('^/errors$');
  await select('google answers 503');
  await page.press('Enter');
  await isAt('^/dead-letters$');
  await page.press('j', 'Enter');
  await isAt('^/dead-letters/[0-9a-f]+$');
  await shows('google answers 503');
  await shows('"userId"');
  const key = await page.evaluate(() => document.querySelector('dd a[href^="/task?"]').textContent);

  await fix();
  await page.tabTo('Replay …');
  await page.press('Enter');
  await isAt('^/dead-letters/change$');
  await page.tabTo('why');
  await page.type('Google lists calendars again');
  await page.tabTo('Replay 1');
  await page.press('Enter');
  await isAt('^/bulks/');
  bulk = await page.evaluate(() => location.pathname);

  await page.press('/');
  await page.type(key);
  await page.press('Enter');
  await isAt('^/task$');
  await shows('the task is done');
  await page.press('g', 'a');
  await isAt('^/actions$');
  await shows('Google lists calendars again');
  await page.press('g', 'q');
  await isAt('^/$');
  for (const [key, path] of [['d', '/dead-letters'], ['t', '/tasks'], ['s', '/schedules'], ['r', '/deploys']]) {
    await page.press('g', key);
    await isAt(`^${path}$`);
  }
});

test('the page of its replay is accessible, legible and small', () => inspect(bulk));

test('no page asked another host for anything, and none had an error', () => {
  assert.deepEqual(page.requests.filter((address) => new URL(address).origin !== origin), []);
  assert.deepEqual(page.problems, []);
});
