import {tidy, titleCase} from 'text';
import {sha256} from '@rs/hash/v1';

// Drops test traffic, tidies names, and replaces the email by its hash.
export function transformEvent(event, metadata) {
  if (event.context?.traits?.email?.endsWith('@example.com')) return;
  if (event.event) event.event = titleCase(event.event);
  const traits = event.context?.traits;
  if (traits?.email) {
    traits.emailHash = sha256(tidy(traits.email).toLowerCase());
    delete traits.email;
  }
  event.context = {...event.context, source: metadata(event).sourceName};
  return event;
}
