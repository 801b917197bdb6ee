// Each page: accessible, legible, small, and operable with a keyboard, on a telephone and on a desk, light and dark.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { PAGES } from './pages.mjs';
import { DESK, PHONE, origin, page, require, sent } from './system.mjs';

const MAX_BYTES = 50_000;
const MAX_SCRIPT_BYTES = 8 * 1024;
const MIN_OUTLINE = 2;
const LEVELS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
// The narrowest telephones, and a page that is enlarged four times on a desk.
const NARROW = [320, 640];
const LIMITS = { minText: 12 };
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const measure = readFileSync(new URL('../browser/measure.js', import.meta.url), 'utf8');

async function violations() {
  const { violations } = await page.evaluate(`axe.run(${JSON.stringify({ runOnly: LEVELS })})`);
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`));
}

// Presses Tab as often as it takes to reach each control once, and returns what was not reached or did not show its focus.
async function unreached() {
  const controls = `[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]
    .filter((control) => control.checkVisibility())`;
  const all = await page.evaluate(`${controls}.map((control) => control.outerHTML)`);
  const reached = new Set();
  for (let pressed = 0; pressed < all.length; pressed += 1) {
    await page.press('Tab');
    const { at, style, width } = await page.evaluate(`({
      at: ${controls}.indexOf(document.activeElement),
      style: getComputedStyle(document.activeElement).outlineStyle,
      width: getComputedStyle(document.activeElement).outlineWidth,
    })`);
    if (style !== 'none' && parseFloat(width) >= MIN_OUTLINE) reached.add(at);
  }
  return all.filter((_, index) => !reached.has(index));
}

// That a page is accessible, legible, small, and operable with a keyboard.
export async function inspect(path) {
  const html = await sent(path);
  const scripts = html.match(/<script.*<\/script>/s)?.[0] ?? '';
  assert(Buffer.byteLength(html) < MAX_BYTES && Buffer.byteLength(scripts) <= MAX_SCRIPT_BYTES, `${html.length}, ${scripts.length}`);
  for (const screen of [PHONE, DESK]) {
    for (const scheme of ['light', 'dark']) {
      await page.screen(...screen, scheme);
      await page.open(origin + path);
      const { language, headings, mains } = await page.evaluate(() => ({
        language: document.documentElement.lang,
        headings: document.querySelectorAll('h1').length,
        mains: document.querySelectorAll('main').length,
      }));
      assert.deepEqual({ language, headings, mains }, { language: 'en', headings: 1, mains: 1 });
      await page.evaluate(axe);
      assert.deepEqual(await violations(), [], `${screen}, ${scheme}`);
      const limits = { ...LIMITS, minTap: screen === PHONE ? 44 : 0 };
      const wrong = await page.evaluate(`{ ${measure}; measure(${JSON.stringify(limits)}) }`);
      assert.deepEqual(wrong, [], `${screen}, ${scheme}`);
    }
    assert.deepEqual(await unreached(), [], `${screen}`);
  }
  await page.screen(...NARROW, 'light');
  await page.open(origin + path);
  assert.deepEqual(await page.evaluate(`{ ${measure}; measure(${JSON.stringify({ ...LIMITS, minTap: 44 })}) }`), [], `${NARROW}`);
}

for (const [name, path] of [...Object.entries(PAGES), ['refusal', '/queues/calender-sync']]) {
  test(`${name} is accessible, legible and small`, () => inspect(path));
}
