// Every page of the console, about something that failed where it is about one thing.
import { json } from './system.mjs';

const { deadLetters: [{ id, key, user }] } = await json('/dead-letters?queue=calendar-sync&json');
export const PAGES = {
  now: '/',
  queue: '/queues/calendar-sync',
  errors: '/errors',
  'dead-letters': '/dead-letters',
  'dead-letter': `/dead-letters/${id}`,
  replay: '/dead-letters/change?action=replay',
  task: `/tasks?key=${key}`,
  user: `/users/${user}`,
  schedules: '/schedules',
  messages: '/messages',
  actions: '/actions',
};
