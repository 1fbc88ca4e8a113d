#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/status.h"
#include "libs/event/event_fields.h"
#include "libs/event_log/event_log.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::processor {

/// How far an event has come. Whatever leaves kLive stays in the batch, so that it can be counted.
enum class EventState { kLive, kDuplicate, kFiltered, kDropped, kDeadLettered };

/// One event of topic `ingest` on its way through the stages.
struct Event {
  event::v1::EventMeta meta;
  std::string_view user_key;  // of the record; lives as long as the batch
  Bytes bytes;                // JSON
  event::EventFields fields;  // of `bytes`
  int32_t partition = 0;
  int64_t offset = 0;
  size_t order = 0;  // of the record among those of the poll
  size_t slot = 0;   // among the events that came to the chain it is in

  /// As it was accepted, once a transformation has changed `bytes`; empty before.
  Bytes accepted;

  // What transformations made of the event.
  uint32_t index = 0;  // among the events made of one record; 0 = the first
  bool extra = false;  // made beside the one that was there; counted as PRODUCED, not as ACCEPTED
  std::vector<std::string> versions;  // of transformations that ran on it, in order
  /// The step of a chain that it goes on from, when it was redriven: transformation id.
  std::string resume_at;

  /// What `originalTimestamp` says, else when it was received; set by normalise. Unix time.
  int64_t original_at_us = 0;

  EventState state = EventState::kLive;
  std::string reason;                    // why it left kLive: of few values, as it is counted by it
  std::string_view stage = "processor";  // dead letters: who refused it,
  std::string_view error_class = "invalid_event";  // of what kind the fault is,
  std::string fault;                               // and what it is, in words for a user
  // Of a transformation's fault:
  std::string stack;
  uint32_t attempts = 1;
  std::string failed_step;  // id of the transformation; not empty: a redrive goes on from there
  uint32_t failed_at = 0;   // how many steps of the chain came before

  bool live() const { return state == EventState::kLive; }
  void DeadLetter(std::string_view counted_as, std::string what) {
    state = EventState::kDeadLettered;
    reason = counted_as;
    fault = std::move(what);
  }
};

/// The events of one poll, owned by the worker that polled.
struct EventBatch {
  std::vector<Event> events;
};

/// A step of the processor. The fault of an event is data: the stage marks that event and goes on.
/// A non-OK return says that the stage itself could not work; the worker then commits nothing and
/// the log delivers the batch again, so Run() must be safe to repeat.
class Stage {
 public:
  virtual ~Stage() = default;
  virtual std::string_view name() const = 0;  // metric label, lower_snake_case
  virtual Status Run(EventBatch& batch) = 0;
};

}  // namespace millrace::processor
