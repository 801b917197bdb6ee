// What others wrote is text on every page, and never a part of it.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'node:test';
import { json, leaveWaiting, origin, page, sql } from './system.mjs';

const hostile = (what) => `</td><script>alert("${what}")</script><img src=x onerror=alert(1)>"><b autofocus onfocus=alert(2)>'`;
const quoted = (what) => `'${hostile(what).replaceAll("'", "''")}'`;
const ID = 'f'.repeat(64);

test('a script in anything that others wrote is shown as text', async () => {
  const { deadLetters: [{ user }] } = await json('/dead-letters?queue=calendar-sync&json');
  const body = { userId: user, contact: hostile('contact'), message: hostile('message'), userAgent: hostile('agent') };
  sql(`
    INSERT INTO jobs.dead_letters (id, function, task_name, key, state, deaths, reason, error, fingerprint, body, user_id)
    VALUES ('${ID}', 'token-refresh', ${quoted('task')}, ${quoted('key')}, 'open', 1, ${quoted('reason')}, ${quoted('error')},
            ${quoted('fingerprint')}, convert_to('${JSON.stringify(body).replaceAll("'", "''")}', 'UTF8'), '${user}');
    INSERT INTO jobs.failures (function, key, life, run, kind, reason, error, fingerprint, revision, instance, alone, user_id, began_at, at)
    VALUES ('token-refresh', ${quoted('key')}, 0, '${randomUUID()}', 'permanent', ${quoted('reason')}, ${quoted('error')},
            ${quoted('fingerprint')}, ${quoted('revision')}, ${quoted('instance')}, false, '${user}', now(), now());
    INSERT INTO jobs.operator_actions (id, at, who, via, action, filter, count, why)
    VALUES ('${randomUUID()}', now(), ${quoted('who')}, 'console', 'discard', to_jsonb(${quoted('filter')}::text), 1, ${quoted('why')});
    INSERT INTO jobs.notification_deliveries (user_id, channel, subject, state, claimed_at, settled_at, provider, provider_id, failure)
    VALUES ('${user}', 'in_app', ${quoted('subject')}, 'failed', now(), now(), ${quoted('provider')}, ${quoted('provider id')}, ${quoted('failure')});
    UPDATE users SET timezone = ${quoted('zone')} WHERE id = '${user}';
    UPDATE token_health SET error_message = ${quoted('health')} WHERE user_id = '${user}';`);

  await leaveWaiting('token-refresh', { data: {}, idempotencyKey: hostile('waiting') });

  const shown = new Set();
  for (const path of [
    '/', '/errors', '/dead-letters', `/dead-letters/${ID}`, '/dead-letters/change?action=discard',
    `/task?key=${encodeURIComponent(hostile('key'))}`, `/users/${user}`, '/messages', '/actions', '/queues/token-refresh',
    '/tasks?queue=token-refresh', `/tasks?queue=token-refresh&key=${encodeURIComponent(hostile('key'))}`, `/schedules/${encodeURIComponent(hostile('name'))}`,
    `/errors?reason=${encodeURIComponent(hostile('parameter'))}`, `/queues/${encodeURIComponent(hostile('name'))}`,
  ]) {
    await page.open(origin + path);
    const { text, parts } = await page.evaluate(() => ({
      text: document.body.innerText + [...document.querySelectorAll('input')].map((input) => input.value),
      parts: document.querySelectorAll('img, b, [onerror], [onfocus], main script').length,
    }));
    assert.equal(parts, 0, path);
    for (const [, what] of text.matchAll(/<script>alert\(\\?"([a-z ]+)\\?"\)<\/script>/g)) shown.add(what);
  }
  assert.deepEqual([...shown].sort(), [
    'agent', 'contact', 'error', 'failure', 'filter', 'health', 'key', 'message', 'name', 'parameter', 'provider', 'reason',
    'revision', 'waiting', 'who', 'why', 'zone',
  ]);
  assert.deepEqual(page.problems, []);
  sql(`
    DELETE FROM jobs.dead_letters WHERE id = '${ID}';
    DELETE FROM jobs.failures WHERE function = 'token-refresh' AND user_id = '${user}';
    UPDATE users SET timezone = 'UTC' WHERE id = '${user}';`);
});
