// Counts the visits of each user for 30 days; the count is exact, because it moves with the event.
const DAYS = 24 * 60 * 60;

export function transformEvent(event) {
  const user = event.userId ?? event.anonymousId;
  if (!user) throw new Error('a visit without userId and anonymousId');
  if (event.type !== 'page') return event;
  return {...event, visits: store.incr(`visits:${user}`, 1, 30 * DAYS)};
}
