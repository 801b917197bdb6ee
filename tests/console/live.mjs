// A page that is looked at stays current, and does not take away what its reader holds.
import assert from 'node:assert/strict';
import test from 'node:test';
import { PHONE, origin, page } from './system.mjs';

// As if the reader had looked elsewhere and back; nothing has to be waited for then.
const look = () => page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
const asked = () => page.requests.length;

async function isAskedFor(what, expected) {
  const before = asked();
  await look();
  assert.equal(asked() > before, expected, what);
}

async function isReplacedBy(action) {
  await page.evaluate(() => (document.querySelector('main').id = 'old'));
  await action();
  await page.until('the page was replaced', () => !document.querySelector('#old'));
}

test('a live page keeps selection and scroll, and stops while it is paused or hidden', async () => {
  await page.screen(...PHONE, 'light');
  await page.open(`${origin}/dead-letters`);
  await page.press('j', 'j', 'x', 'k');
  const held = () =>
    page.evaluate(() => ({
      checked: [...document.querySelectorAll('input:checked')].map((box) => box.value),
      focused: document.activeElement.href,
      scroll: scrollY,
    }));
  const before = await held();
  assert.equal(before.checked.length, 1);
  assert(before.scroll > 0 && before.focused.startsWith(`${origin}/dead-letters/`), JSON.stringify(before));
  await isReplacedBy(look);
  assert.deepEqual(await held(), before);

  await page.press('p');
  await isAskedFor('paused', false);
  await page.until('the age grows', () => /Postgres [2-9] s ago/.test(document.querySelector('#ages').textContent));
  await isReplacedBy(() => page.press('p'));
  await page.evaluate(() => Object.defineProperty(document, 'hidden', { value: true, configurable: true }));
  await isAskedFor('hidden', false);
  await page.evaluate(() => delete document.hidden);
  await isAskedFor('looked at', true);
});

test('a page that is paused while it is asked for stays as it is, and asks again afterwards', async () => {
  await page.open(`${origin}/dead-letters`);
  await page.evaluate(() => {
    document.querySelector('main').id = 'old';
    window.asked = 0;
    const fetched = window.fetch.bind(window);
    const released = new Promise((resolve) => (window.release = resolve));
    window.fetch = async (...request) => {
      window.asked += 1;
      await released;
      const answer = await fetched(...request);
      const text = answer.text.bind(answer);
      answer.text = async () => {
        const html = await text();
        window.isRead = true;
        return html;
      };
      return answer;
    };
  });
  await look();
  assert.equal(await page.evaluate(() => window.asked), 1);
  await look();
  assert.equal(await page.evaluate(() => window.asked), 1, 'not while it is being asked for');
  await page.press('p');
  await page.evaluate(() => window.release());
  await page.until('the answer is read', () => window.isRead);
  assert(await page.evaluate(() => document.querySelector('#old') !== null), 'paused');
  await isReplacedBy(() => page.press('p'));
});

test('what is being filled in stays as it is', async () => {
  await page.open(`${origin}/errors`);
  await page.tabTo('reason');
  await page.type('perm');
  await isAskedFor('has the focus', false);
  await page.press('Escape');
  await isAskedFor('is filled in', false);
});
