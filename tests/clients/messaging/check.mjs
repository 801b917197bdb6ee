// The official Node clients of Twilio and SendGrid against the stand-in. Needs MESSAGING_STAND_IN_URL. Exits 1 at the
// first thing that is not as it should be.

import assert from 'node:assert/strict';
import { Client } from '@sendgrid/client';
import { MailService } from '@sendgrid/mail';
import twilio from 'twilio';

const base = process.env.MESSAGING_STAND_IN_URL;
const { account, token, number, key, sender } = JSON.parse(process.env.MESSAGING_STAND_IN_ACCOUNT);
const to = { number: '+15005550009', address: 'ada@example.test' };

function texting(authToken = token) {
  const client = twilio(account, authToken);
  client.api.baseUrl = base;
  return client.messages;
}

function mailing(apiKey = key) {
  const client = new Client();
  client.setApiKey(apiKey);
  client.setDefaultRequest('baseUrl', base);
  const service = new MailService();
  service.setClient(client);
  return service;
}

const inbox = async () => (await fetch(`${base}/messages`)).json();

const text = await texting().create({ to: to.number, from: number, body: 'Grüße, 19:30 €' });
assert.match(text.sid, /^SM[0-9a-f]{32}$/);
assert.deepEqual([text.status, text.numSegments, text.to, text.errorCode], ['queued', '1', to.number, null]);
assert(text.dateCreated instanceof Date && !Number.isNaN(text.dateCreated.valueOf()));
const [received] = await inbox();
assert.deepEqual([received.provider_id, received.text], [text.sid, 'Grüße, 19:30 €']);

for (const [message, code] of [
  [{ to: '5005550009', from: number, body: 'x' }, 21211],
  [{ to: to.number, from: '+15005550010', body: 'x' }, 21606],
  [{ to: to.number, from: number, body: 'x'.repeat(1601) }, 21617],
]) {
  await assert.rejects(texting().create(message), (error) => error.code === code && error.status === 400);
}
await assert.rejects(texting('wrong').create({ to: to.number, from: number, body: 'x' }), { status: 401, code: 20003 });

const letter = { to: to.address, from: sender, subject: 'Hello', text: 'Hi', html: '<p>Hi</p>' };
const [mail] = await mailing().send(letter);
assert.equal(mail.statusCode, 202);
const last = (await inbox()).at(-1);
assert.deepEqual([last.provider_id, last.subject, last.html], [mail.headers['x-message-id'], 'Hello', '<p>Hi</p>']);

for (const [change, status, field] of [
  [{ to: 'ada' }, 400, 'personalizations.0.to.0.email'],
  [{ from: 'other@example.test' }, 403, 'from'],
]) {
  await assert.rejects(mailing().send({ ...letter, ...change }), (error) => {
    assert.deepEqual([error.code, error.response.body.errors[0].field], [status, field]);
    return true;
  });
}
await assert.rejects(mailing('SG.wrong').send(letter), { code: 401 });
console.log('Node: twilio, @sendgrid/mail: all as it should be');
