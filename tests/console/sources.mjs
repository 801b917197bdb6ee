// Postgres, Cloud Tasks and Redis are cut off one after the other while pages are open: each page says which is unavailable and
// shows the rest, and is whole again without being loaded anew.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import test, { after } from 'node:test';
import { PAGES } from './pages.mjs';
import { chromium } from './system.mjs';

// Stands between a console and a server. When it is cut, connections end and new ones are refused, as those of a process that was
// killed.
class Link {
  #server;
  #port = 0;
  #open = new Set();

  constructor(to) {
    this.to = new URL(to);
  }

  async restore() {
    this.#server = createServer((near) => {
      const far = connect(this.to.port, this.to.hostname);
      for (const [one, other] of [[near, far], [far, near]]) {
        this.#open.add(one);
        one.on('error', () => {}).on('close', () => other.destroy()).pipe(other);
      }
    });
    await once(this.#server.listen(this.#port, '127.0.0.1'), 'listening');
    this.#port = this.#server.address().port;
  }

  async cut() {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
    this.#open.clear();
    await closed;
  }

  get url() {
    const url = new URL(this.to);
    url.port = this.#port;
    return url.href.replace(/\/$/, '');
  }
}

// What scripts/up wrote for an operator's shell.
const environment = Object.fromEntries(
  [...readFileSync(process.env.ENVIRONMENT, 'utf8').matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]),
);
const VARIABLES = { Postgres: 'DATABASE_URL', 'Cloud Tasks': 'CLOUD_TASKS_URL', Redis: 'UPSTASH_REDIS_REST_URL' };
const links = {};
for (const [source, variable] of Object.entries(VARIABLES)) {
  links[source] = new Link(environment[variable]);
  await links[source].restore();
  environment[variable] = links[source].url;
}
const operator = spawn(process.env.OPS, ['console', '--port', '0'], { env: environment, stdio: ['ignore', 'pipe', 'ignore'] });
const [said] = await once(operator.stdout, 'data');
const printed = said.toString().match(/^console: (\S+)/)[1];
const { origin } = new URL(printed);
after(() => {
  operator.kill();
  for (const link of Object.values(links)) link.cut();
});

const banners = () => [...document.querySelectorAll('main .banner[role=alert]')].map((it) => it.textContent.match(/^Not known from (.*?):/)?.[1]);
const isBanner = (source) => [...document.querySelectorAll('main .banner[role=alert]')].some((it) => it.textContent.startsWith(`Not known from ${source}: `));
const hasNone = () => document.querySelector('main h1') && !document.querySelector('main .banner[role=alert]');
const shows = (text) => document.querySelector('main').innerText.includes(text);

// A source; the pages that are open, and what each of them shows without it; nothing where it is not asked.
const { task } = PAGES;
const CUT = {
  Postgres: { '/': 'running', '/tasks?queue=calendar-sync': undefined, '/schedules': 'every day at 03:00', [task]: 'next' },
  'Cloud Tasks': { '/': 'calendar-sync', '/tasks?queue=calendar-sync': 'scripts/ops tasks calendar-sync', [task]: 'failures' },
  Redis: { [task]: 'failures' },
};

// Opens it as if it were in a window of its own, next to the others: it is looked at.
async function open(path) {
  const page = await chromium.page();
  await page.send('Emulation.setFocusEmulationEnabled', { enabled: true });
  await page.open(printed);
  await page.open(origin + path);
  await page.until(`${path} is whole`, hasNone);
  return { path, page };
}

async function isShownWithout(source, text, { path, page }) {
  if (text === undefined) {
    // A page that does not ask the source is not concerned: neither as it is nor loaded anew.
    await page.evaluate(() => (document.querySelector('main').id = 'old'));
    await page.until(`${path} was asked for again`, () => !document.querySelector('#old'));
    assert(await page.evaluate(hasNone), `${path} without ${source}`);
    await page.open(origin + path);
    return assert(await page.evaluate(hasNone), `${path} without ${source}, loaded anew`);
  }
  await page.until(`${path} says that ${source} is unavailable`, isBanner, source);
  const others = (await page.evaluate(banners)).filter((it) => ![source, 'metrics'].includes(it));
  assert.deepEqual(others, [], `${path} without ${source}`);
  assert(await page.evaluate(shows, text), `${path} without ${source}`);
  await page.open(origin + path);
  assert.equal(page.statuses.get(origin + path), 200, `${path} without ${source}`);
  assert(await page.evaluate(isBanner, source), `${path} without ${source}, loaded anew`);
}

for (const [source, texts] of Object.entries(CUT)) {
  test(`without ${source} the pages that are open say so, show the rest, and are whole again when it is back`, async () => {
    const pages = await Promise.all(Object.keys(texts).map(open));
    await links[source].cut();
    await Promise.all(pages.map((it) => isShownWithout(source, texts[it.path], it)));
    await links[source].restore();
    for (const { path, page } of pages) {
      await page.until(`${path} is whole again`, hasNone);
      assert.deepEqual(page.problems, []);
      await page.close();
    }
  });
}
