// Every page of the console, about something that failed where it is about one thing.
import { json } from './system.mjs';

const { deadLetters: [{ id, key, user }] } = await json('/dead-letters?queue=calendar-sync&json');
export const PAGES = {
  now: '/',
  queue: '/queues/calendar-sync',
  tasks: '/tasks?queue=google-contacts-sync',
  queues: '/tasks',
  errors: '/errors',
  'dead-letters': '/dead-letters',
  'dead-letter': `/dead-letters/${id}`,
  replay: '/dead-letters/change?action=replay',
  task: `/task?key=${key}`,
  user: `/users/${user}`,
  schedules: '/schedules',
  schedule: '/schedules/batch-notifications-sweep',
  deploys: '/deploys',
  cost: '/cost',
  messages: '/messages',
  actions: '/actions',
};
