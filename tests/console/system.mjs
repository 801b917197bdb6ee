// The local cloud, and an operator's browser in front of its console.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Chromium } from '../browser/chromium.mjs';

const SECONDS = 180;
const MALFORMED = 3;
const WAITING = 3;
const said = readFileSync(process.env.SAID, 'utf8');
const addressOf = (part) => said.match(new RegExp(`^  ${part} +(\\S+)`, 'm'))[1];
const google = addressOf('Google');

// Packages that are installed elsewhere.
export const require = createRequire(join(process.env.MODULES, 'package.json'));

// What scripts/up prints first: with the token.
export const printed = said.match(/^console: (.*)$/m)[1];
export const { origin } = new URL(printed);
const [cookie] = (await fetch(printed, { redirect: 'manual' })).headers.get('set-cookie').split(';');

export const chromium = new Chromium();
export const page = await chromium.page();
await page.open(printed);

export const PHONE = [390, 844];
export const DESK = [1280, 800];

// A page as the console sends it.
export const sent = async (path) => (await fetch(origin + path, { headers: { cookie } })).text();
export const json = async (path) => JSON.parse(await sent(path));

export const sql = (statement) => execFileSync('psql', [addressOf('Postgres'), '--quiet', '--set=ON_ERROR_STOP=1', '-c', statement]);

async function within(what, condition) {
  const end = Date.now() + SECONDS * 1000;
  while (!(await condition())) {
    assert(Date.now() < end, `not within ${SECONDS} s: ${what}`);
    await pause(100);
  }
}

async function call(method, address, body) {
  const answer = await fetch(address, { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  const text = await answer.text();
  assert(answer.ok, `${method} ${address}: ${answer.status} ${text}`);
  return text && JSON.parse(text);
}

const tomorrow = () => new Date(Date.now() + 86_400_000).toISOString();

const createTask = (queue, task) => call('POST', `${addressOf('Cloud Tasks')}/queues/${queue}-queue/tasks`, { task });

// A task that is due tomorrow.
export function leaveWaiting(queue, envelope) {
  const body = btoa(JSON.stringify({ jobName: queue, ...envelope }));
  return createTask(queue, { scheduleTime: tomorrow(), httpRequest: { url: 'http://example.test/', httpMethod: 'POST', body } });
}

// Google does not list the calendars of a user, who enters an event: the sync uses up its attempts. And one queue gets tasks
// that are none; some tasks wait.
export async function failForGood() {
  await within('the first sweeps have ended', async () => {
    const { queues } = await json('/?json');
    return queues.every(({ tasks }) => tasks === 0) && queues.some(({ numbers }) => numbers?.dispatches > 0);
  });
  const { users: [{ email }] } = await call('GET', `${google}/admin/world`);
  await call('POST', `${google}/admin/faults`, { user: email, call: 'calendarList.list', kind: 'server_error', status: 503, times: 'forever' });
  await call('POST', `${google}/admin/users/${email}/calendars/primary/events`, { summary: 'Lunch', start: tomorrow(), minutes: 30 });
  const httpRequest = { url: 'http://example.test/', httpMethod: 'POST', body: btoa('no envelope') };
  for (let task = 0; task < MALFORMED; task += 1) await createTask('token-refresh', { httpRequest });
  for (let task = 0; task < WAITING; task += 1) await leaveWaiting('google-contacts-sync', { data: { userId: randomUUID() } });
  await within('the tasks are dead letters', async () => (await json('/dead-letters?json')).count === 1 + MALFORMED);
}

// The cause of the failures is gone.
export const fix = () => call('DELETE', `${google}/admin/faults`);
