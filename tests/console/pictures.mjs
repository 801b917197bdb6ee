// Pictures of all pages for readers of the documentation, in few colours.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { PAGES } from './pages.mjs';
import { DESK, PHONE, origin, page, require } from './system.mjs';

const UPNG = require('upng-js');
const COLORS = 64;
const MAX_BYTES = 60_000;

function small(png) {
  const image = UPNG.decode(png);
  return Buffer.from(UPNG.encode(UPNG.toRGBA8(image), image.width, image.height, COLORS));
}

async function take(name, path, screen, scheme) {
  await page.screen(...screen, scheme);
  await page.open(origin + path);
  const end = await page.evaluate(() => Math.ceil(document.querySelector('main').getBoundingClientRect().bottom));
  await page.screen(screen[0], Math.min(end, screen[1]), scheme);
  const picture = small(await page.picture());
  assert(picture.length < MAX_BYTES, `${picture.length} bytes`);
  writeFileSync(join(process.env.PICTURES, `${name}.png`), picture);
}

mkdirSync(process.env.PICTURES, { recursive: true });
for (const [name, path] of Object.entries(PAGES)) {
  test(`a picture of ${name}`, () => take(name, path, DESK, 'light'));
}
test('a picture on a telephone', () => take('phone', '/errors', PHONE, 'dark'));
