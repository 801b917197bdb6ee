// Google's official Node clients against the stand-in. Needs GOOGLE_STAND_IN_URL, GOOGLE_CLIENT_ID,
// GOOGLE_CLIENT_SECRET, GOOGLE_USER and a refresh token for each API. Exits 1 at the first thing that is not as it
// should be.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { calendar as calendarClient } from '@googleapis/calendar';
import { people as peopleClient } from '@googleapis/people';
import { OAuth2Client } from 'google-auth-library';

const { GOOGLE_STAND_IN_URL: base, GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, GOOGLE_USER } = process.env;
const rootUrl = `${base}/`;
const personFields = 'names,emailAddresses,phoneNumbers,organizations,urls,addresses,memberships,metadata';

function signedIn(refreshToken, clientSecret = GOOGLE_CLIENT_SECRET) {
  const client = new OAuth2Client({
    clientId: GOOGLE_CLIENT_ID,
    clientSecret,
    endpoints: { oauth2TokenUrl: `${base}/token` },
  });
  client.setCredentials({ refresh_token: refreshToken });
  return client;
}

async function operator(method, path, body) {
  const answer = await fetch(`${base}/admin/users/${GOOGLE_USER}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  assert(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.status === 200 ? answer.json() : undefined;
}

async function allPages(list, parameters, key) {
  const items = [];
  let pages = 0;
  let pageToken;
  for (;;) {
    const { data } = await list({ ...parameters, pageToken });
    pages += 1;
    items.push(...(data[key] ?? []));
    if (!data.nextPageToken) return { items, pages, syncToken: data.nextSyncToken };
    assert.equal(data.nextSyncToken, undefined);
    pageToken = data.nextPageToken;
  }
}

function distinct(items, key) {
  assert.equal(new Set(items.map((item) => item[key])).size, items.length, `a ${key} twice`);
}

async function fails(promise, code, words) {
  const error = await promise.then(
    () => assert.fail(`no ${code}`),
    (error) => error,
  );
  assert.equal(error.status, code, error.message);
  assert.match(JSON.stringify(error.response.data), words);
}

async function tokens() {
  const client = signedIn(process.env.GOOGLE_CALENDAR_REFRESH_TOKEN);
  const { token } = await client.getAccessToken();
  assert.match(token, /^ya29\./);
  assert(client.credentials.expiry_date > Date.now() + 3_500_000);
  await fails(signedIn('1//unknown').getAccessToken(), 400, /invalid_grant/);
  await fails(signedIn('1//unknown', 'wrong').getAccessToken(), 401, /invalid_client/);
}

async function events(calendar) {
  // All of these have to stay as they are in the list that gives the sync token.
  const fixed = { calendarId: 'primary', singleEvents: true, maxResults: 10 };
  const list = (parameters) => calendar.events.list({ ...fixed, ...parameters });
  const { data } = await calendar.calendarList.list();
  assert.equal(data.items.find((entry) => entry.primary).id, GOOGLE_USER);

  const full = await allPages(list, {}, 'items');
  assert(full.pages > 1);
  distinct(full.items, 'id');
  const { syncToken } = await allPages(list, { syncToken: full.syncToken }, 'items');
  const added = await operator('POST', '/calendars/primary/events', {
    summary: 'Node',
    start: new Date().toISOString(),
    minutes: 30,
  });
  const changed = await allPages(list, { syncToken }, 'items');
  assert.deepEqual(changed.items.map((event) => [event.id, event.summary]), [[added.id, 'Node']]);
  await operator('DELETE', `/calendars/primary/events/${added.id}`);
  const deleted = await allPages(list, { syncToken: changed.syncToken }, 'items');
  assert.deepEqual(deleted.items.map((event) => [event.id, event.status]), [[added.id, 'cancelled']]);
  await operator('POST', '/expire-sync-tokens');
  await fails(list({ syncToken: deleted.syncToken }), 410, /fullSyncRequired/);
}

async function push(calendar) {
  const received = [];
  const server = createServer((request, response) => {
    received.push(request.headers);
    response.end();
    server.emit('notified');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const notified = async (count) => {
    while (received.length < count) await once(server, 'notified', { signal: AbortSignal.timeout(20_000) });
  };
  try {
    const address = `http://127.0.0.1:${server.address().port}/`;
    const requestBody = { id: `node-${process.pid}`, type: 'web_hook', address, token: 'node' };
    const { data: channel } = await calendar.events.watch({ calendarId: 'primary', requestBody });
    await notified(1);
    await operator('POST', '/calendars/primary/events', { summary: 'Push', start: new Date(), minutes: 5 });
    await notified(2);
    assert.deepEqual(
      received.map((headers) => [headers['x-goog-resource-state'], headers['x-goog-message-number']]),
      [['sync', '1'], ['exists', '2']],
    );
    assert.equal(received[1]['x-goog-channel-token'], 'node');
    const stop = { requestBody: { id: channel.id, resourceId: channel.resourceId } };
    assert.equal((await calendar.channels.stop(stop)).status, 204);
    await fails(calendar.channels.stop(stop), 404, /notFound/);
  } finally {
    server.close();
  }
}

async function contacts(people) {
  const list = (parameters) =>
    people.people.connections.list({
      resourceName: 'people/me',
      personFields,
      requestSyncToken: true,
      pageSize: 10,
      ...parameters,
    });
  const full = await allPages(list, {}, 'connections');
  assert(full.pages > 1);
  distinct(full.items, 'resourceName');
  const { syncToken } = await allPages(list, { syncToken: full.syncToken }, 'connections');
  const added = await operator('POST', '/people', { name: { given: 'Node', family: 'Check' } });
  const changed = await allPages(list, { syncToken }, 'connections');
  assert.deepEqual(changed.items.map((person) => person.names[0].displayName), ['Node Check']);
  await operator('DELETE', `/${added.resource_name}`);
  const deleted = await allPages(list, { syncToken: changed.syncToken }, 'connections');
  assert.deepEqual(deleted.items.map((person) => person.metadata.deleted), [true]);
  await fails(list({ syncToken: deleted.syncToken, personFields: 'names' }), 400, /INVALID_ARGUMENT/);

  const groups = await allPages((parameters) => people.contactGroups.list(parameters), { pageSize: 3 }, 'contactGroups');
  assert(groups.pages > 1);
  assert(groups.items.some((group) => group.resourceName === 'contactGroups/myContacts'));
  assert(groups.syncToken);
  await operator('POST', '/expire-sync-tokens');
  await fails(list({ syncToken: deleted.syncToken }), 400, /EXPIRED_SYNC_TOKEN/);
}

// A token of the other API opens neither, and both say why in Google's own words.
async function scopes() {
  const insufficient = /Request had insufficient authentication scopes.*ACCESS_TOKEN_SCOPE_INSUFFICIENT/;
  const { GOOGLE_CALENDAR_REFRESH_TOKEN, GOOGLE_CONTACTS_REFRESH_TOKEN } = process.env;
  const events = calendarOf(GOOGLE_CONTACTS_REFRESH_TOKEN).events.list({ calendarId: 'primary' });
  const challenge = await events.catch((error) => error.response.headers.get('www-authenticate'));
  assert.match(challenge, /error="insufficient_scope"/);
  await fails(events, 403, insufficient);
  await fails(events, 403, /insufficientPermissions/);
  const people = peopleOf(GOOGLE_CALENDAR_REFRESH_TOKEN).people.connections;
  await fails(people.list({ resourceName: 'people/me', personFields }), 403, insufficient);
}

const calendarOf = (token) => calendarClient({ version: 'v3', rootUrl, auth: signedIn(token) });
const peopleOf = (token) => peopleClient({ version: 'v1', rootUrl, auth: signedIn(token) });
const calendar = calendarOf(process.env.GOOGLE_CALENDAR_REFRESH_TOKEN);
const people = peopleOf(process.env.GOOGLE_CONTACTS_REFRESH_TOKEN);
for (const [name, check] of Object.entries({ tokens, scopes, events, push, contacts })) {
  await check(name === 'contacts' ? people : calendar);
  console.log(`node: ${name} ok`);
}
